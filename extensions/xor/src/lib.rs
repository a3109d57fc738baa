//! Stores every byte XOR-ed: the smallest content extension, and no protection of anything.

use std::sync::Arc;

use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::{content, *};

/// The extension.
pub struct Xor(u8);

impl Content for Xor {
    type File = Arc<dyn LowerFile>;

    fn open(&self, context: &Context) -> Result<Self::File> {
        Ok(Arc::clone(context.lower()))
    }

    fn len(&self, file: &Self::File) -> Result<u64> {
        file.len()
    }

    fn read(&self, file: &Self::File, _: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = file.read_at(offset, buffer)?;
        buffer[..read].iter_mut().for_each(|byte| *byte ^= self.0);
        Ok(read)
    }

    fn write(&self, file: &mut Self::File, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        content::fill_gap(self, file, call, offset)?;
        let stored: Vec<u8> = data.iter().map(|byte| byte ^ self.0).collect();
        file.write_at(call.credentials(), offset, &stored)
    }

    fn set_len(&self, file: &mut Self::File, call: &Call, len: u64) -> Result<()> {
        content::fill_gap(self, file, call, len)?;
        file.set_len(len)
    }

    fn sync(&self, file: &OpenFile<Self>, data_only: bool) -> Result<()> {
        file.read().sync(data_only)
    }
}

impl Extension for Xor {
    const NAME: &'static str = "xor";
    const ABOUT: &'static str = "stores every byte XOR-ed; an example, no protection";
    const FORMAT_VERSION: u32 = 1;

    fn options() -> Vec<OptionSpec> {
        let byte = OptionKind::Number { min: 0, max: 255 };
        vec![OptionSpec::new("key", "the byte, which a store keeps", byte, "90").recorded()]
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let key = environment.options.number("key") as u8;
        Ok(ContentFs::new(Arc::new(Self(key)), environment))
    }
}

#[cfg(test)]
mod tests {
    use hsci_extension::options::Options;
    use hsci_extension::testkit::{self, MemoryTree, conformance};

    use super::*;

    const KEY: u8 = 90;

    #[test]
    fn every_byte_is_stored_xored() {
        let tree = MemoryTree::new();
        let layer = testkit::start::<Xor>(&tree, &[]).expect("start");
        let call = Call::internal();
        let mode = 0o100_644;
        let file = layer.mknod(&call, Ino::ROOT, "name".as_ref(), mode, 0).expect("a new file").ino;
        layer.write(&call, file, 2, b"text").expect("write");
        let stored = tree.file_at("name").expect("the lower file");
        let mut bytes = [0; 6];
        stored.read_exact_at(0, &mut bytes).expect("the stored bytes");
        assert_eq!(bytes, [KEY, KEY, KEY ^ b't', KEY ^ b'e', KEY ^ b'x', KEY ^ b't']);
        assert!(layer.forget(file, 1), "nothing keeps the inode");
    }

    #[test]
    fn it_conforms() {
        let tree = MemoryTree::new();
        let layer = testkit::start::<Xor>(&tree, &[]).expect("start");
        assert_eq!(conformance::check(&*layer), []);
        assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
    }

    #[test]
    fn it_stacks() {
        let tree = MemoryTree::new();
        let below = testkit::start::<Xor>(&tree, &[]).expect("start");
        let mut environment = testkit::environment(&tree);
        environment.lower = below;
        environment.options = Options::check(&Xor::options(), []).expect("no options");
        let layer = Xor::start(&environment).expect("start");
        assert_eq!(conformance::check(&*layer), []);
        layer.shutdown();
        drop((layer, environment));
        assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
    }
}
