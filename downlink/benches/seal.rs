//! What a packet costs on its way out of the program: header, cipher and books, without the system
//! call.

#![allow(clippy::expect_used, reason = "a bench that cannot start says so")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use downlink::{Extensions, Keys, Packet, Patch, Payload, Profile, Side, Stream, StreamConfig};
use std::hint::black_box;
use std::time::Instant;

/// A run as it is handed to the system.
const RUN: u64 = 8;

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::Elements(RUN));
    for (name, profile) in [
        ("AES-128-GCM", Profile::Aes128Gcm),
        ("AES-256-GCM", Profile::Aes256Gcm),
        ("AES-128-CM-SHA1", Profile::Aes128CmSha1),
    ] {
        for length in [120, 1150] {
            let material = vec![7; profile.material_bytes()];
            let keys = Keys::new(profile, &material, Side::Server).expect("keys");
            let mut stream = Stream::new(StreamConfig {
                ssrc: 1,
                repeat_ssrc: Some(2),
                clock_rate: 90_000,
            });
            let bytes = vec![0xab; length].into();
            let payload = Payload {
                bytes: &bytes,
                payload_type: 96,
                repeat_type: Some(97),
                marker: false,
            };
            let (extensions, now) = (Extensions::default(), Instant::now());
            let (mut sequence, mut run) = (1000, Vec::new());
            group.bench_function(format!("{name}, {length} bytes, by eights"), |bencher| {
                bencher.iter(|| {
                    run.clear();
                    for _ in 0..RUN {
                        sequence += 1;
                        let packet = Packet {
                            sequence,
                            timestamp: 0,
                            payload,
                            patch: Patch::default(),
                            extensions: &extensions,
                            shared: None,
                        };
                        assert!(stream.send(&keys, &packet, now, &mut run));
                    }
                    black_box(&run);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, seal);
criterion_main!(benches);
