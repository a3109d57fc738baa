//! Everything unsafe: which types may be copied to and from maps.
#![allow(unsafe_code)]

use crate::evaluate::{Answer, Question};

/// Tables as a map holds them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Room<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Room<WORDS> {
    /// Of exactly as many words; on the heap, as a stack has no room for them.
    pub(crate) fn boxed(words: Vec<u32>) -> Box<Self> {
        assert_eq!(words.len(), WORDS);
        let words = Box::into_raw(words.into_boxed_slice());
        // SAFETY: the allocation holds `WORDS` numbers, as was asserted, and `Self` is laid out as
        // an array of them.
        unsafe { Box::from_raw(words.cast::<Self>()) }
    }
}

// SAFETY: an array of numbers, without padding; every bit pattern is one.
unsafe impl<const WORDS: usize> aya::Pod for Room<WORDS> {}
// SAFETY: `repr(C)`, made of numbers only, without padding (a test adds the fields up).
unsafe impl aya::Pod for Question {}
// SAFETY: as above.
unsafe impl aya::Pod for Answer {}
