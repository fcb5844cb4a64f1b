//! Opens streams with tonic: ADDRESS METHOD STREAMS FIRST SECOND [ROOTS CHAIN KEY], files of messages as bytes.

use std::env;
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::sync::{mpsc, Barrier};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

type Failure = Box<dyn Error + Send + Sync>;

const PATIENCE: Duration = Duration::from_secs(120);
const LARGEST: usize = 64 << 20;

/// Has messages stay bytes.
#[derive(Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

async fn connected(address: &str, files: &[String]) -> Result<Channel, Failure> {
    let scheme = if files.is_empty() { "http" } else { "https" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
    if let [roots, chain, key] = files {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(fs::read(roots)?))
            .identity(Identity::from_pem(fs::read(chain)?, fs::read(key)?))
            .domain_name("localhost");
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect().await?)
}

/// Asks twice on a stream, which stays open until all others are served too; gives the bytes of both answers.
async fn asked(channel: Channel, method: PathAndQuery, messages: [Bytes; 2], all: Arc<Barrier>) -> Result<usize, Failure> {
    let mut client = Grpc::new(channel).max_decoding_message_size(LARGEST);
    client.ready().await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let [first, second] = messages;
    sender.send(first)?;
    let request = Request::new(UnboundedReceiverStream::new(receiver));
    let mut answers = client.streaming(request, method, Plain).await?.into_inner();
    let mut total = answers.message().await?.ok_or("the stream ended")?.len();
    sender.send(second)?;
    total += answers.message().await?.ok_or("the stream ended")?.len();
    all.wait().await;
    Ok(total)
}

async fn served() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (method, count) = (PathAndQuery::try_from(arguments[1].as_str())?, arguments[2].parse()?);
    let messages = [Bytes::from(fs::read(&arguments[3])?), Bytes::from(fs::read(&arguments[4])?)];
    let channel = connected(&arguments[0], &arguments[5..]).await?;
    let all = Arc::new(Barrier::new(count));
    let mut streams = JoinSet::new();
    for _ in 0..count {
        streams.spawn(asked(channel.clone(), method.clone(), messages.clone(), all.clone()));
    }
    let mut total = 0;
    while let Some(done) = streams.join_next().await {
        total += done??;
    }
    println!("{count} {total}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    timeout(PATIENCE, served()).await?
}
