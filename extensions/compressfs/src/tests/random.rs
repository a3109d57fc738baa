//! Numbers that look random and are the same for the same seed.

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that compress well, or not at all.
    pub(super) fn bytes(&mut self, len: usize, compressible: bool) -> Vec<u8> {
        if !compressible {
            return (0..len).map(|_| self.next() as u8).collect();
        }
        let words = [b"alpha " as &[u8], b"beta ", b"gamma\n", b"0000"];
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(words[self.below(4) as usize]);
        }
        bytes.truncate(len);
        bytes
    }
}
