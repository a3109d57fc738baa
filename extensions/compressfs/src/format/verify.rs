//! Looks at every byte of an image.

use std::ops::Range;

use hsci_extension::{Error, LowerFile, Result};

use super::index::{self, Page};
use super::{HEAD_LEN, Image, PAGE_CHUNKS, seek_table};
use crate::codec::{self, Kind};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// What it is, for the user.
    pub(crate) what: String,
    /// The logical bytes that cannot be read because of it; empty if all can be.
    pub(crate) lost: Range<u64>,
    /// The index says where these bytes are and what they must be: they are gone for good.
    pub(crate) is_certain: bool,
}

/// Reads every byte of the image at `base` and tells of all damage. `None` if there is no image; an
/// error if its head cannot be read.
pub(crate) fn verify(
    file: &dyn LowerFile,
    base: u64,
    continues: Option<u32>,
    report: &mut dyn FnMut(Damage),
) -> Result<Option<Image>> {
    let Some(image) = Image::open(file, base, continues)? else {
        return Ok(None);
    };
    let mut verifier = Verifier {
        file,
        image: &image,
        report,
        next_frame: HEAD_LEN as u64,
        index_crc: Some(0),
        zeros: Vec::new(),
        frame: Vec::new(),
        chunk: Vec::new(),
    };
    verifier.run()?;
    Ok(Some(image))
}

/// Fails unless images lie one after another, as long together as somebody has said and as their checksums
/// say. Nothing is decoded.
pub(crate) fn require_whole(
    file: &dyn LowerFile,
    base: u64,
    len: u64,
    mut continues: Option<u32>,
) -> Result<()> {
    let damaged = |what: &str| Err(Error::Damaged(format!("journal: {what}")));
    if file.blocks()?.saturating_mul(512 * MAX_SPARSENESS) < len {
        return damaged("an image that takes no space");
    }
    let end = base + len;
    let mut at = base;
    while at < end {
        let Some(image) = Image::open(file, at, continues)? else {
            return damaged("no image where one is named");
        };
        require_frames(file, &image)?;
        (at, continues) = (at + image.header().image_len, Some(image.header().checksum()));
    }
    if at == end { Ok(()) } else { damaged("an image of another length") }
}

fn require_frames(file: &dyn LowerFile, image: &Image) -> Result<()> {
    let mut frame = Vec::new();
    for number in 0..index::pages(image.header().chunks()) {
        let page = image.page(file, number)?;
        for chunk in number * PAGE_CHUNKS..(number * PAGE_CHUNKS + page.records().len() as u64) {
            image.read_frame(file, &page.extent(chunk), &mut frame)?;
        }
    }
    Ok(())
}

/// So many times more than it takes, a file may hold where the lower file system compresses.
const MAX_SPARSENESS: u64 = 64;

struct Verifier<'a> {
    file: &'a dyn LowerFile,
    image: &'a Image,
    report: &'a mut dyn FnMut(Damage),
    /// Where the frame must begin that comes next.
    next_frame: u64,
    /// CRC-32C of the pages so far; `None` if one of them is lost.
    index_crc: Option<u32>,
    /// The frame of a whole chunk of zeros: others that are equal need not be decoded.
    zeros: Vec<u8>,
    /// Room to work in.
    frame: Vec<u8>,
    chunk: Vec<u8>,
}

impl Verifier<'_> {
    fn run(&mut self) -> Result<()> {
        let header = self.image.header();
        if let Some(what) = self.image.damage() {
            self.harmless(what);
        }
        if header.seek_table_len() > 0 {
            let mut start = Vec::new();
            seek_table::append_start(&mut start, header);
            self.check_seek_table(0, &start)?;
        }
        for number in 0..index::pages(header.chunks()) {
            match self.check_page(number)? {
                Some(page) => self.check_chunks(number, &page)?,
                None => self.index_crc = None,
            }
        }
        if self.index_crc.is_some_and(|crc| crc != header.index_crc) {
            self.harmless("index: not the one that the header tells of");
        }
        if self.index_crc.is_some() && self.next_frame != header.index_offset {
            self.harmless("index: there are bytes that belong to no chunk");
        }
        if header.seek_table_len() > 0 {
            let mut end = Vec::new();
            seek_table::append_end(&mut end, header);
            self.check_seek_table(header.seek_table_len() - end.len() as u64, &end)?;
        }
        Ok(())
    }

    fn harmless(&mut self, what: impl Into<String>) {
        (self.report)(Damage { what: what.into(), lost: 0..0, is_certain: true });
    }

    /// Logical bytes of a range of chunks.
    fn bytes_of(&self, chunks: Range<u64>) -> Range<u64> {
        let header = self.image.header();
        let at = |chunk: u64| (chunk * u64::from(header.chunk_len)).min(header.len);
        at(chunks.start)..at(chunks.end)
    }

    /// Compares both copies of a page, envelopes included; returns it if one is good.
    fn check_page(&mut self, number: u64) -> Result<Option<Page>> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let pages = [
            damage(self.image.page_copy(self.file, 0, number, &mut first))?,
            damage(self.image.page_copy(self.file, 1, number, &mut second))?,
        ];
        let Some(page) = pages.iter().flatten().next() else {
            let chunks = number * PAGE_CHUNKS..(number + 1) * PAGE_CHUNKS;
            let lost = self.bytes_of(chunks);
            let what = format!("index: both copies of page {number}");
            (self.report)(Damage { what, lost, is_certain: false });
            return Ok(None);
        };
        let mut expected = Vec::new();
        let codec = self.image.header().codec();
        index::append_page(codec, number, page.frames().start, page.records(), &mut expected);
        // What a read that ended early has left there may look right by chance.
        for (copy, good, found) in
            [("first", pages[0].is_some(), first), ("second", pages[1].is_some(), second)]
        {
            if !good || found != expected {
                self.harmless(format!("index: the {copy} copy of page {number}"));
            }
        }
        self.index_crc = self.index_crc.map(|crc| crc32c::crc32c_append(crc, &expected));
        Ok(Some(page.clone()))
    }

    /// Looks at the frames that a page tells of, and at their entries in the seek table.
    fn check_chunks(&mut self, number: u64, page: &Page) -> Result<()> {
        let header = self.image.header();
        let frames = page.frames();
        if self.index_crc.is_some() && frames.start != self.next_frame {
            self.harmless(format!("index: page {number} does not follow the one before"));
        }
        self.next_frame = frames.end;
        for (chunk, record) in (number * PAGE_CHUNKS..).zip(page.records()) {
            if let Err(what) = self.check_chunk(page, chunk)? {
                // Zeros are known without looking at their frame.
                let lost = match record.kind {
                    Kind::Hole => 0..0,
                    _ => self.bytes_of(chunk..chunk + 1),
                };
                let what = format!("chunk {chunk}: {what}");
                (self.report)(Damage { what, lost, is_certain: true });
            }
        }
        if header.seek_table_len() > 0 {
            let mut entries = Vec::new();
            seek_table::append_chunks(&mut entries, header, number, page.records());
            self.check_seek_table(seek_table::offset_of_page(number), &entries)?;
        }
        Ok(())
    }

    /// The inner result tells what is wrong with the chunk.
    fn check_chunk(&mut self, page: &Page, chunk: u64) -> Result<Result<(), String>> {
        let (header, extent) = (self.image.header(), page.extent(chunk));
        let len = header.len_of_chunk(chunk);
        let is_hole = extent.record.kind == Kind::Hole;
        let is_whole_hole = is_hole && len == header.chunk_len as usize;
        let read = self.image.read_frame(self.file, &extent, &mut self.frame);
        let is_known = !self.zeros.is_empty() && self.frame == self.zeros;
        if read.is_ok() && is_whole_hole && is_known {
            return Ok(Ok(()));
        }
        self.chunk.resize(len, 0);
        let decoded =
            read.and_then(|()| codec::decode(header.codec(), &self.frame, &mut self.chunk));
        Ok(match decoded {
            Ok(()) if is_hole && !codec::is_zero(&self.chunk) => {
                Err("not the zeros that the index tells of".to_owned())
            }
            Ok(()) => {
                if is_whole_hole {
                    self.zeros.clone_from(&self.frame);
                }
                Ok(())
            }
            Err(Error::Damaged(what)) => Err(what),
            Err(error) => return Err(error),
        })
    }

    /// Compares a part of the seek table.
    fn check_seek_table(&mut self, offset: u64, expected: &[u8]) -> Result<()> {
        let header = self.image.header();
        let start = header.image_len - header.seek_table_len();
        let mut found = vec![0; expected.len()];
        let whole = damage(self.image.read(self.file, start + offset, &mut found))?.is_some();
        if !whole || found != expected {
            self.harmless("the seek table for other programs");
        }
        Ok(())
    }
}

/// Takes damage out of the errors that end everything.
fn damage<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
