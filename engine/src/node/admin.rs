//! The admin port: metrics, liveness, readiness and version over HTTP, on a thread of its own.
//!
//! `/livez` failing means "restart me", `/readyz` failing "send me nothing yet, and take no other node away": it is answered with
//! 200 when all replicas of this node know their leaders, hold their data, and vote, without those whose places they take.
//!
//! One thread serves all connections and waits for none of them: each has one request and ends after
//! [`CONNECTION_PATIENCE`] whatever it does, and only so many are open at once. Of a request only the head is read, which has
//! a limit; a body never.

use super::health::Health;
use super::host;
use super::mesh::{Mesh, Reply, ToCore};
use super::metrics;
use super::stage::Stage;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

/// How long all cores together may take to say how they are.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections at once, if there are descriptors for so many; the next ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take for the head of its request.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection may take for everything: a client that does not read its answer is given up, too.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// The head of a request, in bytes; longer ones are refused.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// After a connection could not be accepted, as the process has run out of descriptors or the like.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two warnings of it.
const WARN_PAUSE: Duration = Duration::from_secs(1);

const TEXT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

/// The format of the metrics, as scrapers name it.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Serves a bound listener until the process ends.
pub fn start(listener: TcpListener, health: Arc<Health>, stage: Arc<Stage>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let main = move || runtime.block_on(serve(listener, health, stage));
    std::thread::Builder::new().name("admin".into()).spawn(main)?;
    Ok(())
}

/// How many connections may be open at once.
pub fn connections_max() -> usize {
    host::callers(CONNECTIONS_MAX)
}

async fn serve(listener: tokio::net::TcpListener, health: Arc<Health>, stage: Arc<Stage>) {
    let connections_max = connections_max();
    let mut connections = JoinSet::new();
    let mut warned: Option<Instant> = None;
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= connections_max {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve_one(stream, health.clone(), stage.clone()))),
            Err(error) => {
                if warned.is_none_or(|last| last.elapsed() >= WARN_PAUSE) {
                    tracing::warn!(%error, "the admin port cannot accept a connection");
                    warned = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, with one request.
async fn serve_one(stream: TcpStream, health: Arc<Health>, stage: Arc<Stage>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let (health, stage) = (health.clone(), stage.clone());
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &health, &stage).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        // Who has said all it wants to say is answered nevertheless.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), answer);
    // Too slow, gone, or of another language: nobody to answer.
    let _ = timeout(CONNECTION_PATIENCE, connection).await;
}

async fn answer(method: &Method, path: &str, health: &Health, stage: &Stage) -> Response<String> {
    if method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".into());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => {
            let mut scraped = Response::new(metrics(stage).await);
            scraped.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
            scraped
        }
        "/livez" if health.is_alive() => text(StatusCode::OK, "ok\n".into()),
        "/livez" => text(StatusCode::SERVICE_UNAVAILABLE, "a core has not ticked for 5 s\n".into()),
        "/readyz" => match readiness(health, stage).await {
            Ok(()) => text(StatusCode::OK, "ok\n".into()),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/version" => {
            let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "wire": net::frame::VERSION });
            text(StatusCode::OK, format!("{version}\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /version\n".into()),
    }
}

fn text(code: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, TEXT_TYPE);
    response
}

/// What the cores have counted. A core that does not answer in time is left out; a node without cores has nothing to say yet.
async fn metrics(stage: &Stage) -> String {
    let Some((mesh, facts)) = stage.serving() else {
        return metrics::text(String::new(), Vec::new(), Vec::new());
    };
    let cores = ask(&mesh, ToCore::Metrics).await.into_iter().flatten().collect();
    let nodes = facts.map.nodes.iter().map(|node| node.name.clone()).collect();
    metrics::text(facts.settings.node.name.clone(), nodes, cores)
}

async fn readiness(health: &Health, stage: &Stage) -> Result<(), String> {
    if health.is_draining() {
        return Err("draining".into());
    }
    let mesh = stage.mesh()?;
    for (core, status) in ask(&mesh, ToCore::Status).await.into_iter().enumerate() {
        match status {
            Some(status) if status.ready => {}
            Some(_) => {
                return Err(format!("core {core} has replicas without a known leader, a vote or all data, or behind"));
            }
            None => return Err(format!("core {core} does not answer")),
        }
    }
    Ok(())
}

/// Asks all cores at once: what each says, `None` of one that does not in time.
async fn ask<T: Send + 'static>(mesh: &Mesh, question: impl Fn(Reply<T>) -> ToCore) -> Vec<Option<T>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let asked: Vec<_> = (0..mesh.len())
        .map(|core| {
            let (reply, answer) = Reply::channel();
            mesh.send(core, question(reply));
            answer
        })
        .collect();
    let mut said = Vec::with_capacity(asked.len());
    for answer in asked {
        said.push(timeout_at(deadline, answer.recv_async()).await.ok().and_then(Result::ok));
    }
    said
}
