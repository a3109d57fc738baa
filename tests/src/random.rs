//! Pseudo-random numbers that a printed seed repeats.

/// A generator (SplitMix64, Steele et al. 2014): equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this run: from `HSCI_SEED` if set, else from the clock; printed either way.
    #[must_use]
    pub fn seed(what: &str) -> u64 {
        let given = std::env::var("HSCI_SEED").ok();
        let seed = given.map_or_else(clock, |text| text.parse().expect("HSCI_SEED is a number"));
        println!("{what}: seed {seed} (repeat with HSCI_SEED={seed})");
        seed
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// True once in `times` on average.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number with up to `bits` bits, each length of a number being equally likely, so that
    /// small ones are met often.
    pub fn skewed(&mut self, bits: u64) -> u64 {
        let length = self.below(bits + 1);
        self.bits() & ((1 << length) - 1)
    }

    /// `len` bytes: noise, or text that compresses about four times.
    pub fn bytes(&mut self, len: usize, compressible: bool) -> Vec<u8> {
        const WORDS: [&[u8]; 8] =
            [b"inode ", b"chunk ", b"codec\n", b"seal ", b"0x1f ", b"lower/", b"commit=", b"    "];
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            if compressible {
                bytes.extend_from_slice(WORDS[self.below(8) as usize]);
            } else {
                bytes.extend_from_slice(&self.bits().to_le_bytes());
            }
        }
        bytes.truncate(len);
        bytes
    }
}

fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("the clock is past 1970").as_nanos() as u64 % 1_000_000_007
}
