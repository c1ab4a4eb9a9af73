//! Packing of integers of 1 to 8 bits: eight of them fill as many bytes as each has bits, lowest bits first.

/// Bytes that `count` packed integers of `bits` bits take.
pub fn packed_len(count: usize, bits: u32) -> usize {
    (count * bits as usize).div_ceil(8)
}

/// Appends `codes`, each below `2^bits`, packed.
pub fn pack(codes: &[u8], bits: u32, into: &mut Vec<u8>) {
    match bits {
        8 => into.extend_from_slice(codes),
        4 => {
            let (pairs, rest) = codes.as_chunks::<2>();
            into.extend(pairs.iter().map(|[low, high]| low | high << 4));
            into.extend_from_slice(rest);
        }
        2 => {
            let (fours, rest) = codes.as_chunks::<4>();
            into.extend(fours.iter().map(|[a, b, c, d]| a | b << 2 | c << 4 | d << 6));
            pack_tail(rest, bits, into);
        }
        _ => {
            let (eights, rest) = codes.as_chunks::<8>();
            for eight in eights {
                into.extend_from_slice(&gathered(eight, bits).to_le_bytes()[..bits as usize]);
            }
            pack_tail(rest, bits, into);
        }
    }
}

/// Appends the `count` integers packed in `bytes`, whose length is exactly [`packed_len`].
pub fn unpack(bytes: &[u8], bits: u32, count: usize, into: &mut Vec<u8>) {
    debug_assert_eq!(bytes.len(), packed_len(count, bits));
    let start = into.len();
    match bits {
        8 => into.extend_from_slice(bytes),
        4 => into.extend(bytes.iter().flat_map(|byte| [byte & 15, byte >> 4])),
        2 => into.extend(bytes.iter().flat_map(|byte| [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6])),
        _ => {
            let mask = (1u64 << bits) - 1;
            for group in bytes.chunks(bits as usize) {
                let mut word = [0; 8];
                word[..group.len()].copy_from_slice(group);
                let word = u64::from_le_bytes(word);
                into.extend((0..8).map(|at| (word >> (at * bits) & mask) as u8));
            }
        }
    }
    into.truncate(start + count);
}

fn gathered(codes: &[u8], bits: u32) -> u64 {
    codes.iter().enumerate().fold(0, |word, (at, &code)| word | u64::from(code) << (at as u32 * bits))
}

fn pack_tail(codes: &[u8], bits: u32, into: &mut Vec<u8>) {
    into.extend_from_slice(&gathered(codes, bits).to_le_bytes()[..packed_len(codes.len(), bits)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_round_trip(bits in 1u32..=8, codes in prop::collection::vec(any::<u8>(), 0..200)) {
            let codes: Vec<u8> = codes.into_iter().map(|code| code & (255 >> (8 - bits))).collect();
            let mut packed = vec![77];
            pack(&codes, bits, &mut packed);
            prop_assert_eq!(packed.len(), 1 + packed_len(codes.len(), bits));
            let mut back = vec![9];
            unpack(&packed[1..], bits, codes.len(), &mut back);
            prop_assert_eq!(&back[1..], &codes[..]);
        }
    }
}
