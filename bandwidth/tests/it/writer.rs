//! Writes feedback as receivers do: runs where they are long, vectors elsewhere.

/// Statuses in a vector of two bits.
const VECTOR: usize = 7;

/// The part of a feedback packet behind its SSRCs. `arrivals` are the packets from `base` on, each with
/// its arrival in ticks of 250 µs after `reference` (units of 64 ms); from one to the next it must not
/// jump further than 16 bits.
pub(crate) fn fci(base: u16, reference: u32, packet: u8, arrivals: &[Option<i64>]) -> Vec<u8> {
    let mut out = base.to_be_bytes().to_vec();
    out.extend_from_slice(&(arrivals.len() as u16).to_be_bytes());
    out.extend_from_slice(&reference.to_be_bytes()[1..]);
    out.push(packet);
    let (mut symbols, mut deltas, mut last) = (Vec::new(), Vec::new(), 0);
    for arrival in arrivals {
        let Some(at) = arrival else {
            symbols.push(0_u16);
            continue;
        };
        let delta = at - last;
        last = *at;
        if let Ok(small) = u8::try_from(delta) {
            symbols.push(1);
            deltas.push(small);
        } else {
            symbols.push(2);
            deltas.extend_from_slice(&(delta as i16).to_be_bytes());
        }
    }
    let mut rest = &symbols[..];
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|symbol| *symbol == first).count();
        let (chunk, taken) = if run > VECTOR {
            let run = run.min(0x1fff);
            (first << 13 | run as u16, run)
        } else {
            let vector = rest.iter().take(VECTOR);
            let bits = vector.clone().fold(0, |bits, symbol| bits << 2 | symbol);
            (0xc000 | bits << (2 * (VECTOR - vector.len())), vector.len())
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[taken..];
    }
    out.append(&mut deltas);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
