//! Encrypts the content of files with XChaCha20-Poly1305, in blocks that a crash leaves old or new. Names, sizes
//! and times are not hidden.
//!
//! A file begins with 16 random bytes that tell it from others. A block of 4096 bytes, or fewer at the end, follows
//! the next: 24 bytes of nonce, the encrypted bytes, 16 bytes of tag over them, the file and the block's number.

use std::sync::Arc;

use chacha20poly1305::aead::rand_core::RngCore as _;
use chacha20poly1305::aead::{Aead as _, AeadCore as _, KeyInit as _, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hsci_extension::journal::{Change, Journal};
use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::*;

const BLOCK: u64 = 4096;
const ID: u64 = 16;
const NONCE: usize = 24;
const OVERHEAD: u64 = NONCE as u64 + 16;
const STORED: u64 = BLOCK + OVERHEAD;

/// The extension.
pub struct Crypt {
    cipher: XChaCha20Poly1305,
    journal: Journal,
}

/// A file in use.
pub struct File {
    lower: Arc<dyn LowerFile>,
    /// What tells it from other files; a new one has none yet.
    id: Option<[u8; ID as usize]>,
}

/// Logical length of a file of so many stored bytes.
fn logical(stored: u64) -> u64 {
    let stored = stored.saturating_sub(ID);
    stored / STORED * BLOCK + (stored % STORED).saturating_sub(OVERHEAD)
}

fn place(block: u64) -> u64 {
    ID + block * STORED
}

impl Crypt {
    fn seal(&self, id: &[u8], block: u64, plain: &[u8]) -> Vec<u8> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let aad = [id, &block.to_le_bytes()].concat();
        let sealed = self.cipher.encrypt(&nonce, Payload { msg: plain, aad: &aad });
        [&nonce[..], &sealed.expect("a block is short enough")].concat()
    }

    fn unseal(&self, id: &[u8], block: u64, stored: &[u8]) -> Result<Vec<u8>> {
        let cut_off = || Error::Damaged(format!("block {block} is cut off"));
        let (nonce, sealed) = stored.split_at_checked(NONCE).ok_or_else(cut_off)?;
        let aad = [id, &block.to_le_bytes()].concat();
        let opened =
            self.cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad });
        opened.map_err(|_| Error::Damaged(format!("block {block} is not what was written")))
    }

    /// The bytes of a block; none past the end.
    fn block(&self, file: &File, block: u64) -> Result<Vec<u8>> {
        let mut stored = vec![0; STORED as usize];
        let read = file.lower.read_at(place(block), &mut stored)?;
        match &file.id {
            Some(id) if read > 0 => self.unseal(id, block, &stored[..read]),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes blocks, and the length where it is given; all of that, or nothing.
    fn store(
        &self,
        file: &mut File,
        by: Credentials,
        blocks: &[(u64, Vec<u8>)],
        len: Option<u64>,
    ) -> Result<()> {
        let id = file.id.unwrap_or_else(|| {
            let mut id = [0; ID as usize];
            OsRng.fill_bytes(&mut id);
            id
        });
        let seal = |(block, plain): &(u64, Vec<u8>)| (place(*block), self.seal(&id, *block, plain));
        let sealed: Vec<_> = blocks.iter().map(seal).collect();
        let mut changes: Vec<_> =
            sealed.iter().map(|(place, bytes)| Change::Write(*place, bytes)).collect();
        if file.id.is_none() {
            changes.push(Change::Write(0, &id));
        }
        changes.extend(len.map(Change::SetLen));
        self.journal.update(&file.lower, by, &changes)?;
        file.id = Some(id);
        Ok(())
    }
}

impl Content for Crypt {
    type File = File;

    fn open(&self, context: &Context) -> Result<File> {
        let lower = self.journal.file(context.lower())?;
        let mut id = [0; ID as usize];
        let id = match lower.is_empty()? {
            true => None,
            false => lower.read_exact_at(0, &mut id).map(|()| Some(id))?,
        };
        Ok(File { lower, id })
    }

    fn len(&self, file: &File) -> Result<u64> {
        Ok(logical(file.lower.len()?))
    }

    fn peek_len(&self, context: &Context, _: &Attr) -> Result<u64> {
        Ok(logical(self.journal.file(context.lower())?.len()?))
    }

    fn read(&self, file: &File, _: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let plain = self.block(file, at / BLOCK)?;
            let part = plain.get((at % BLOCK) as usize..).unwrap_or_default();
            let len = part.len().min(buffer.len() - done);
            if len == 0 {
                break;
            }
            buffer[done..done + len].copy_from_slice(&part[..len]);
            done += len;
        }
        Ok(done)
    }

    fn write(&self, file: &mut File, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        content::fill_gap(self, file, call, offset)?;
        let mut blocks = Vec::new();
        let (mut rest, mut at) = (data, offset);
        while !rest.is_empty() {
            let (block, start) = (at / BLOCK, (at % BLOCK) as usize);
            let (part, after) = rest.split_at(rest.len().min(BLOCK as usize - start));
            let mut plain = self.block(file, block)?;
            plain.resize(plain.len().max(start + part.len()), 0);
            plain[start..start + part.len()].copy_from_slice(part);
            blocks.push((block, plain));
            at += part.len() as u64;
            rest = after;
        }
        self.store(file, call.credentials(), &blocks, None)
    }

    fn set_len(&self, file: &mut File, call: &Call, len: u64) -> Result<()> {
        if len == 0 {
            file.id = None;
            // In the journal as well: what it holds of the file is carried out before this then.
            return self.journal.update(&file.lower, call.credentials(), &[Change::SetLen(0)]);
        }
        if len >= self.len(file)? {
            return content::fill_gap(self, file, call, len);
        }
        let (block, within) = (len / BLOCK, (len % BLOCK) as usize);
        let mut plain = self.block(file, block)?;
        plain.truncate(within);
        let (blocks, end) = match within {
            0 => (Vec::new(), place(block)),
            _ => (vec![(block, plain)], place(block) + within as u64 + OVERHEAD),
        };
        self.store(file, call.credentials(), &blocks, Some(end))
    }

    fn sync(&self, file: &OpenFile<Self>, data_only: bool) -> Result<()> {
        let lower = Arc::clone(&file.read().lower);
        lower.sync(data_only)
    }

    fn shutdown(&self) {
        // What could not be done now is done at the next start.
        let _ = self.journal.close();
    }
}

/// The key in 64 hexadecimal digits.
fn key(text: &str) -> Option<[u8; 32]> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let key: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
    key?.try_into().ok().filter(|_| text.len() == 64)
}

impl Extension for Crypt {
    const NAME: &'static str = "crypt";
    const ABOUT: &'static str = "encrypts the content of files; an example";
    const FORMAT_VERSION: u32 = 1;

    fn options() -> Vec<OptionSpec> {
        vec![OptionSpec::new("key", "64 hexadecimal digits", OptionKind::Secret, "")]
    }

    fn recover(store: &Arc<dyn Store>, read_only: bool) -> Result<Vec<u8>> {
        Journal::recover(&**store, "journal", read_only).map(|()| Vec::new())
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let wrong = || Error::Invalid("option `key`: 64 hexadecimal digits by file:PATH".into());
        let key = key(environment.options.text("key")).ok_or_else(wrong)?;
        environment.recover::<Self>()?;
        let journal = Journal::open(environment, "journal")?;
        let crypt = Self { cipher: XChaCha20Poly1305::new(&key.into()), journal };
        crypt.check_key(environment)?;
        Ok(ContentFs::new(Arc::new(crypt), environment))
    }

    fn check(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        check::by_reading(&*Self::start(environment)?, report, progress).map(Checked::all_verified)
    }
}

impl Crypt {
    /// Refuses another key than that of the first mount.
    fn check_key(&self, environment: &Environment) -> Result<()> {
        const WORD: &[u8] = b"the right key";
        let store = &environment.store;
        let file = match store.open("key", false) {
            Err(Error::Lower(Errno::NOENT)) if environment.read_only => return Ok(()),
            Err(Error::Lower(Errno::NOENT)) => {
                // Whole, or not there.
                let file = store.open("key.new", true)?;
                file.set_len(0)?;
                file.write_at(Credentials::HOST, 0, &self.seal(b"key", 0, WORD))?;
                file.sync(false)?;
                store.rename("key.new", "key")?;
                return store.sync_names();
            }
            file => file?,
        };
        let mut known = vec![0; file.len()? as usize];
        file.read_exact_at(0, &mut known)?;
        let same = self.unseal(b"key", 0, &known).is_ok_and(|word| word == WORD);
        let wrong = || Error::Invalid("option `key`: not the key of this store".to_owned());
        same.then_some(()).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests;
