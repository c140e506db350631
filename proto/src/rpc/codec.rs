//! JSON bodies in gRPC frames.

use bytes::{Buf as _, BufMut as _};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{Read as _, Write as _};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends `E`, receives `D`.
pub(super) struct JsonCodec<E, D>(PhantomData<fn() -> (E, D)>);

impl<E, D> JsonCodec<E, D> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for JsonCodec<E, D>
where
    E: Serialize + Send + 'static,
    D: DeserializeOwned + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = JsonEncoder<E>;
    type Decoder = JsonDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        JsonEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        JsonDecoder(PhantomData)
    }
}

pub(super) struct JsonEncoder<E>(PhantomData<fn(E)>);

impl<E: Serialize> Encoder for JsonEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let json = serde_json::to_vec(&item)
            .map_err(|error| Status::internal(format!("encode: {error}")))?;
        buffer
            .writer()
            .write_all(&json)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

pub(super) struct JsonDecoder<D>(PhantomData<fn() -> D>);

impl<D: DeserializeOwned> Decoder for JsonDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let mut json = Vec::with_capacity(buffer.remaining());
        buffer
            .reader()
            .read_to_end(&mut json)
            .map_err(|error| Status::internal(error.to_string()))?;
        serde_json::from_slice(&json).map(Some).map_err(|error| {
            Status::invalid_argument(format!("a message of another version? {error}"))
        })
    }
}
