//! Names of files that take no memory of their own while a request is served.

use std::ffi::{CStr, OsStr};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use smallvec::SmallVec;

/// A name, ended by 0 as the kernel takes it. Longer ones than most file systems have are allocated.
pub(crate) struct Name(SmallVec<[u8; 256]>);

impl Name {
    pub(crate) fn new(name: &(impl AsRef<OsStr> + ?Sized)) -> Self {
        let mut bytes = SmallVec::from_slice(name.as_ref().as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    /// EINVAL for what no file can be named.
    pub(crate) fn c_str(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_with_nul(&self.0).map_err(|_| Errno::INVAL)
    }
}

impl Deref for Name {
    type Target = OsStr;

    fn deref(&self) -> &OsStr {
        OsStr::from_bytes(&self.0[..self.0.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was_made_of_whatever_its_length() {
        for len in [0, 1, 255, 256, 4095] {
            let text = "n".repeat(len);
            let name = Name::new(&text);
            assert_eq!(*name, *text);
            assert_eq!(name.c_str().map(CStr::to_bytes), Ok(text.as_bytes()));
        }
        assert_eq!(Name::new("a\0b").c_str(), Err(Errno::INVAL));
    }
}
