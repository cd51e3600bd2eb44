//! The recipe for OTLP over gRPC in the docs is the example, and the example works.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

struct Collector(Sender<String>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.0.send(span.name).map_err(|_| Status::unavailable("the test has ended"))?;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[test]
fn the_page_has_the_example() {
    let page = include_str!("../../../docs/opentelemetry.md");
    assert!(page.contains(include_str!("../examples/opentelemetry_grpc.rs").trim()));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_by_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send, spans) = channel();
    let server = Server::builder().add_service(TraceServiceServer::new(Collector(send)));
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    // TARGET/PROFILE/deps/opentelemetry_grpc-…
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples/opentelemetry_grpc");
    let output = tokio::task::spawn_blocking(move || {
        Command::new(example.with_extension(std::env::consts::EXE_EXTENSION))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(spans.try_iter().collect::<Vec<_>>(), ["text_completion my-model"]);
    server.abort();
}
