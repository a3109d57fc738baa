//! The extension's corner of the disk.

use std::ffi::OsString;
use std::sync::Arc;

use hsci_extension::{Errno, Error, FileId, FileKind, Ino, LowerFile, Reopened, Result, Store};

use super::{Change, Covers, Disk, Event, PAGE, Pages, STORE};

impl Disk {
    fn sync(&self, covers: Covers) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        state.record(Event::Sync(covers));
        Ok(())
    }

    fn find_again(&self, id: &FileId) -> Result<Arc<dyn LowerFile>> {
        let ino = u64::from_le_bytes(id.0[..].try_into().expect("ids of this disk have 8 bytes"));
        let mut state = self.0.lock();
        state.look()?;
        if state.links(ino) == 0 {
            return Err(Error::Lower(Errno::STALE));
        }
        Ok(self.lower(Ino(ino)))
    }
}

impl Store for Disk {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        let mut state = self.0.lock();
        let name = OsString::from(name);
        let found = state.find(STORE, &name);
        let ino = match found {
            Err(_) if create => {
                state.begin()?;
                state.create(STORE, name, FileKind::Regular, 0)?
            }
            found => {
                state.look()?;
                found?
            }
        };
        Ok(self.lower(Ino(ino)))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn LowerFile>> {
        if self.0.lock().find(STORE, &OsString::from(name)).is_ok() {
            return Err(Errno::EXIST.into());
        }
        self.open(name, true)
    }

    fn names(&self) -> Result<Vec<String>> {
        self.0.lock().look()?;
        Ok(self.store_names())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let ino = state.find(STORE, &from.into())?;
        let entries = vec![((STORE, from.into()), None), ((STORE, to.into()), Some(ino))];
        state.apply(Change::Names { new: None, entries })
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let ino = state.find(STORE, &name.into())?;
        let entries = vec![((STORE, name.into()), None)];
        state.apply(Change::Names { new: None, entries })?;
        // Its space is free, though a power cut may bring it back.
        state.inode(ino)?.now = Pages::default();
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        self.sync(Covers::Names(STORE))
    }

    fn sync_all(&self) -> Result<()> {
        self.sync(Covers::All)
    }

    fn free_space(&self) -> Result<u64> {
        let mut state = self.0.lock();
        state.look()?;
        Ok(match state.fate.capacity {
            0 => 1 << 40,
            capacity => capacity.saturating_sub(state.used()) * PAGE as u64,
        })
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        for (place, id) in ids.iter().enumerate() {
            visit(place, self.find_again(id));
        }
    }

    fn epoch(&self) -> u64 {
        self.0.lock().cuts
    }
}
