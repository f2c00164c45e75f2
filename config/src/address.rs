//! Addresses, `host:port`. What a host name stands for is asked where it is used, each time anew.

/// Host and port of an address; the error says what is wrong. IPv6 hosts stand in brackets, which are not
/// part of what is returned.
pub fn split(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("{address:?} is not host:port, such as 127.0.0.1:7400 or [::1]:7400");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0);
    let port = port.ok_or(format!("{address:?} has no port from 1 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() || bare.is_none() && host.contains([':', '[', ']']) || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(split("127.0.0.1:7400"), Ok(("127.0.0.1", 7400)));
        assert_eq!(split("db-1.example:1"), Ok(("db-1.example", 1)));
        assert_eq!(split("[::1]:7400"), Ok(("::1", 7400)));
        for bad in ["", "host", ":7400", "host:", "host:0", "host:65536", "::1:7400", "a b:1", "[]:1", "[::1:7"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
