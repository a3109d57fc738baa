//! Shows what is in gzip files: beside `log.gz` there is `log`, which can be read and nothing else.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::views::{File, View, Views};
use hsci_extension::{Environment, Error, Extension, Ino, Result, Stack};
use parking_lot::Mutex;

/// Contents that are kept, and files whose lengths are.
const CONTENTS: usize = 8;
const LENGTHS: usize = 100_000;

/// A state of a file: another one has other bytes.
type Stamp = (Ino, SystemTime, u64);

fn stamp(file: &File<'_>) -> Stamp {
    (file.ino(), file.attr().mtime, file.attr().size)
}

/// The extension.
pub struct Gunzip {
    largest: u64,
    contents: Mutex<VecDeque<(Stamp, Arc<Vec<u8>>)>>,
    lengths: Mutex<HashMap<Stamp, u64>>,
}

/// A file as a stream.
struct Stream<'a>(&'a File<'a>, u64);

impl std::io::Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read_at(self.1, buffer).map_err(std::io::Error::other)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl Gunzip {
    /// What is in a file.
    fn content(&self, file: &File<'_>) -> Result<Arc<Vec<u8>>> {
        let stamp = stamp(file);
        let known = self.contents.lock().iter().find(|kept| kept.0 == stamp).cloned();
        if let Some((_, content)) = known {
            return Ok(content);
        }
        let stream = BufReader::with_capacity(128 << 10, Stream(file, 0));
        let (mut content, most) = (Vec::new(), self.largest + 1);
        let inflated = MultiGzDecoder::new(stream).take(most).read_to_end(&mut content);
        inflated.map_err(|error| Error::Damaged(format!("gzip: {error}")))?;
        if content.len() as u64 == most {
            return Err(Error::TooLarge("more than the option `largest` allows".to_owned()));
        }
        let content = Arc::new(content);
        let mut contents = self.contents.lock();
        contents.push_front((stamp, Arc::clone(&content)));
        contents.truncate(CONTENTS);
        Ok(content)
    }
}

impl View for Gunzip {
    fn name(&self, file: &OsStr) -> Option<OsString> {
        let name = file.as_bytes().strip_suffix(b".gz").filter(|name| !name.is_empty())?;
        Some(OsStr::from_bytes(name).to_owned())
    }

    fn file_name(&self, view: &OsStr) -> Option<OsString> {
        Some([view.as_bytes(), b".gz"].concat()).map(|name| OsStr::from_bytes(&name).to_owned())
    }

    fn is_there(&self, file: &File<'_>) -> Result<bool> {
        let mut magic = [0; 2];
        file.read_at(0, &mut magic)?;
        Ok(magic == [0x1f, 0x8b])
    }

    fn len(&self, file: &File<'_>) -> Result<u64> {
        let known = self.lengths.lock().get(&stamp(file)).copied();
        if let Some(len) = known {
            return Ok(len);
        }
        let len = self.content(file)?.len() as u64;
        let mut lengths = self.lengths.lock();
        if lengths.len() == LENGTHS {
            lengths.clear();
        }
        lengths.insert(stamp(file), len);
        Ok(len)
    }

    fn read(&self, file: &File<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let content = self.content(file)?;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

impl Extension for Gunzip {
    const NAME: &'static str = "gunzip";
    const ABOUT: &'static str = "shows what is in gzip files; an example";
    const FORMAT_VERSION: u32 = 0;

    fn options() -> Vec<OptionSpec> {
        let size = OptionKind::Size { min: 1, max: 1 << 40 };
        vec![OptionSpec::new("largest", "longest content that is shown", size, "256M")]
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let Environment { lower, kernel, options, .. } = environment.clone();
        let (contents, lengths) = (Mutex::default(), Mutex::default());
        let gunzip = Self { largest: options.size("largest"), contents, lengths };
        Ok(Arc::new(Views::new(gunzip, lower, kernel)))
    }
}

#[cfg(test)]
mod tests {
    use hsci_extension::testkit::{self, MemoryTree, conformance};
    use hsci_extension::{Call, Errno, RenameFlags};

    use super::*;

    #[test]
    fn it_conforms() {
        let tree = MemoryTree::new();
        let layer = testkit::start::<Gunzip>(&tree, &[]).expect("start");
        assert_eq!(conformance::check(&*layer), []);
        assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
    }

    #[test]
    fn a_view_cannot_be_removed_and_what_is_gone_is_gone() {
        let layer = testkit::start::<Gunzip>(&MemoryTree::new(), &[]).expect("start");
        let call = Call::internal();
        let made = layer.mknod(&call, Ino::ROOT, "a.gz".as_ref(), 0o100_644, 0).expect("a file");
        layer.write(&call, made.ino, 0, &[0x1f, 0x8b]).expect("written");
        for (name, errno) in [("a", Errno::ROFS), ("b", Errno::NOENT)] {
            let from = (Ino::ROOT, OsStr::new(name));
            assert_eq!(layer.unlink(&call, from.0, from.1), Err(errno.into()));
            let to = (Ino::ROOT, OsStr::new("c"));
            assert_eq!(layer.rename(&call, from, to, RenameFlags::empty()), Err(errno.into()));
        }
    }
}
