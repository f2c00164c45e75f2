//! The admin port: metrics, liveness, readiness and version over HTTP, on a thread of its own.
//!
//! `/livez` failing means "restart me", `/readyz` failing "send me nothing yet".

use super::health::Health;
use super::mesh::{Mesh, Reply, ToCore};
use super::metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::{Header, Request, Response, Server};

/// How long a core may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// The format of the metrics, as scrapers name it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `server` until the process ends.
pub fn start(server: Server, health: Arc<Health>, stage: Arc<super::stage::Stage>) -> std::io::Result<()> {
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        for request in server.incoming_requests() {
            if request.url().split('?').next() == Some("/metrics") {
                respond_metrics(request, &stage);
                continue;
            }
            let (code, body) = match request.url().split('?').next().unwrap_or("") {
                "/livez" if health.is_alive() => (200, "ok\n".to_string()),
                "/livez" => (503, "a core has not ticked for 5 s\n".to_string()),
                "/readyz" => match readiness(&health, &stage) {
                    Ok(()) => (200, "ok\n".to_string()),
                    Err(why) => (503, format!("{why}\n")),
                },
                "/version" => {
                    let version =
                        serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "wire": net::frame::VERSION });
                    (200, format!("{version}\n"))
                }
                _ => (404, "there are /metrics, /livez, /readyz and /version\n".to_string()),
            };
            respond(request, code, &body);
        }
    })?;
    Ok(())
}

fn respond(request: Request, code: u16, body: &str) {
    // Whoever asked may have gone.
    let _ = request.respond(Response::from_string(body).with_status_code(code));
}

/// What the cores have counted. A core that does not answer in time is left out; a node without cores has nothing to say yet.
fn respond_metrics(request: Request, stage: &super::stage::Stage) {
    let text = match stage.serving() {
        None => metrics::text(String::new(), Vec::new(), Vec::new()),
        Some((mesh, facts)) => {
            let asked: Vec<_> = (0..mesh.len())
                .map(|core| {
                    let (reply, receiver) = Reply::channel();
                    mesh.send(core, ToCore::Metrics(reply));
                    receiver
                })
                .collect();
            let deadline = Instant::now() + PATIENCE;
            let cores = asked.iter().filter_map(|answer| answer.recv_deadline(deadline).ok()).collect();
            let nodes = facts.map.nodes.iter().map(|node| node.name.clone()).collect();
            metrics::text(facts.settings.node.name.clone(), nodes, cores)
        }
    };
    let kind = Header::from_bytes("Content-Type", METRICS_TYPE).expect("it is a header");
    // Whoever asked may have gone.
    let _ = request.respond(Response::from_string(text).with_header(kind));
}

fn readiness(health: &Health, stage: &super::stage::Stage) -> Result<(), String> {
    if health.is_draining() {
        return Err("draining".into());
    }
    let mesh: Mesh = stage.mesh()?;
    for core in 0..mesh.len() {
        let (reply, receiver) = Reply::channel();
        mesh.send(core, ToCore::Status(reply));
        match receiver.recv_timeout(PATIENCE) {
            Ok(status) if status.ready => {}
            Ok(_) => return Err(format!("core {core} has groups without a known leader, or is behind")),
            Err(_) => return Err(format!("core {core} does not answer")),
        }
    }
    Ok(())
}
