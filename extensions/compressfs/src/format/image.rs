//! Reads an image that lies in a file.

use hsci_extension::{Error, LowerFile, Result};

use super::index::{self, Extent, Page};
use super::{HEAD_LEN, Header};
use crate::codec::{self, Kind};

/// An image in a file. It keeps the header and nothing else, so a file in use costs next to no
/// memory; pages of the index are read when they are needed, and kept by whoever wants to.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    header: Header,
    /// Where the image starts in the file.
    base: u64,
    /// What is wrong with the head, although it can be read.
    damage: Option<String>,
}

impl Image {
    /// The image that starts at `base`; `None` if the bytes there are not those of an image, or of one that
    /// continues the one whose header has the given checksum.
    pub(crate) fn open(
        file: &dyn LowerFile,
        base: u64,
        continues: Option<u32>,
    ) -> Result<Option<Self>> {
        let mut head = [0; HEAD_LEN];
        let read = file.read_at(base, &mut head)?;
        Self::of_head(&head[..read], base, continues)
    }

    /// The same, of which these bytes are known: [`HEAD_LEN`], or all that there are.
    pub(crate) fn of_head(head: &[u8], base: u64, continues: Option<u32>) -> Result<Option<Self>> {
        let Some((header, damage)) = Header::read(head, continues)? else {
            return Ok(None);
        };
        // Against this, every later read is within the file.
        if base.checked_add(header.image_len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::Damaged("header: the length of the image".to_owned()));
        }
        Ok(Some(Self { header, base, damage }))
    }

    /// The same image, where it starts at `base`.
    pub(crate) fn moved(&self, base: u64) -> Self {
        Self { base, ..self.clone() }
    }

    /// Where it starts.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// What the header says.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What is damaged in the head, for those who report it.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Page `number` of the index; it tells of [`PAGE_CHUNKS`](super::PAGE_CHUNKS) chunks. If one
    /// copy is damaged, it comes from the other.
    pub(crate) fn page(&self, file: &dyn LowerFile, number: u64) -> Result<Page> {
        let mut bytes = Vec::new();
        self.page_copy(file, 0, number, &mut bytes).or_else(|error| match error {
            Error::Damaged(_) => self.page_copy(file, 1, number, &mut bytes),
            error => Err(error),
        })
    }

    /// Page `number` from one of the two copies; its envelope is left in `bytes`.
    pub(super) fn page_copy(
        &self,
        file: &dyn LowerFile,
        copy: u64,
        number: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<Page> {
        let header = &self.header;
        let on_page = index::chunks_on(number, header.chunks());
        let offset = header.index_offset
            + copy * header.index_len()
            + number * index::page_stride(header.codec());
        bytes.resize(index::len(header.codec(), on_page) as usize, 0);
        self.read(file, offset, bytes)?;
        let frames = HEAD_LEN as u64..header.index_offset;
        index::read_page(header.codec(), number, bytes, frames, header.chunk_len)
    }

    /// Bytes of the image as they are, from `offset` on.
    pub(super) fn read(&self, file: &dyn LowerFile, offset: u64, bytes: &mut [u8]) -> Result<()> {
        file.read_exact_at(self.base + offset, bytes)
    }

    /// The frame at `extent` into `frame`; its checksum holds.
    pub(crate) fn read_frame(
        &self,
        file: &dyn LowerFile,
        extent: &Extent,
        frame: &mut Vec<u8>,
    ) -> Result<()> {
        frame.resize(extent.record.len as usize, 0);
        self.read(file, extent.offset, frame)?;
        if crc32c::crc32c(frame) != extent.record.crc {
            return Err(Error::Damaged("its checksum does not match".to_owned()));
        }
        Ok(())
    }

    /// The logical bytes of `chunk`, whose extent is given, into `out`, which has exactly
    /// [`Header::len_of_chunk`] bytes. `frame` is room to work in.
    pub(crate) fn read_chunk(
        &self,
        file: &dyn LowerFile,
        extent: &Extent,
        frame: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<()> {
        if extent.record.kind == Kind::Hole {
            out.fill(0);
            return Ok(());
        }
        self.read_frame(file, extent, frame)?;
        codec::decode(self.header.codec(), frame, out)
    }
}
