//! New nodes become records, children before parents, in pages that follow one another.

use super::{
    layout::{Geometry, PAGE, PAGE_HEAD, Ptr},
    nodes::{NewId, Node},
    pages::Page,
    share::Works,
};

/// Pages that stand side by side in one segment.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) segment: u64,
    pub(super) place: u32,
    /// Number of the first page in its segment.
    pub(super) first: u32,
    pub(super) bytes: Vec<u8>,
    /// Bytes of records.
    pub(super) born: u32,
}

impl Run {
    pub(super) fn pages(&self) -> u32 {
        (self.bytes.len() / PAGE) as u32
    }

    /// The pages, by themselves.
    pub(super) fn split(&self) -> impl Iterator<Item = (Ptr, Page)> {
        self.bytes.chunks_exact(PAGE).enumerate().map(|(i, bytes)| {
            let at = Ptr::new(self.segment, (self.first as usize + i) * PAGE);
            (at, Page::new(bytes.into()))
        })
    }

    /// Checksums of the pages, in order.
    pub(super) fn checksums(&self) -> impl Iterator<Item = [u8; 4]> {
        self.bytes.chunks_exact(PAGE).map(|page| super::layout::array_at(page, 0))
    }
}

/// Lays out records from the first page on that no commit has used.
#[derive(Debug)]
pub(super) struct Appender<I> {
    geometry: Geometry,
    pub(super) runs: Vec<Run>,
    /// Bytes used of the last page, if there is one that is not finished.
    used: usize,
    /// Where the next page goes, if a segment is open.
    next: Option<(u64, u32, u32)>,
    next_segment: u64,
    places: I,
    /// Segments that were opened, and where they are.
    pub(super) opened: Vec<(u64, u32)>,
    /// Memory for runs.
    spare: Vec<Vec<u8>>,
}

impl<I: Iterator<Item = u32>> Appender<I> {
    /// `open` is the segment, its place and its first page without use; `places` are places for segments
    /// that begin, without end; `spare` is memory that runs may use.
    pub(super) fn new(
        geometry: Geometry,
        open: Option<(u64, u32, u32)>,
        next_segment: u64,
        places: I,
        spare: Vec<Vec<u8>>,
    ) -> Self {
        let (runs, opened) = (Vec::new(), Vec::new());
        Appender { geometry, runs, used: 0, next: open, next_segment, places, opened, spare }
    }

    fn page_count(&self) -> u32 {
        (self.geometry.segment / PAGE as u64) as u32
    }

    fn start_page(&mut self) {
        let (segment, place, page) = match self.next {
            Some(next) if next.2 < self.page_count() => next,
            _ => {
                let place = self.places.next().unwrap_or_default();
                let segment = self.next_segment;
                self.next_segment += 1;
                self.opened.push((segment, place));
                (segment, place, 0)
            }
        };
        if self.runs.last().is_none_or(|run| run.segment != segment) {
            let (mut bytes, born) = (self.spare.pop().unwrap_or_default(), 0);
            bytes.clear();
            self.runs.push(Run { segment, place, first: page, bytes, born });
        }
        if let Some(run) = self.runs.last_mut() {
            run.bytes.resize(run.bytes.len() + PAGE, 0);
        }
        (self.used, self.next) = (PAGE_HEAD, Some((segment, place, page + 1)));
    }

    fn finish_page(&mut self) {
        let (used, geometry) = (std::mem::take(&mut self.used), self.geometry);
        let Some(run) = self.runs.last_mut().filter(|_| used > 0) else { return };
        let start = run.bytes.len() - PAGE;
        let at = Ptr::new(run.segment, run.first as usize * PAGE + start);
        let page = &mut run.bytes[start..];
        page[4..6].copy_from_slice(&(used as u16).to_le_bytes());
        let checksum = geometry.page_crc(at, page);
        page[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Room for a record, and where it is.
    fn room(&mut self, len: usize) -> (&mut [u8], Ptr) {
        if self.used == 0 || self.used + len > PAGE {
            self.finish_page();
            self.start_page();
        }
        let at = self.used;
        self.used += len;
        let last = self.runs.len() - 1;
        let run = &mut self.runs[last];
        run.born += len as u32;
        let start = run.bytes.len() - PAGE;
        let ptr = Ptr::new(run.segment, run.first as usize * PAGE + start + at);
        (&mut run.bytes[start + at..start + at + len], ptr)
    }

    /// Lays out what is new in a trie; where its root is.
    pub(super) fn trie(&mut self, works: &Works, node: Node) -> Ptr {
        match node {
            Node::Empty => Ptr::NONE,
            Node::Same(ptr) => ptr,
            Node::New(id) => self.node(works, id),
        }
    }

    fn node(&mut self, works: &Works, id: NewId) -> Ptr {
        let draft = works.draft(id);
        let new = &draft.new[..draft.count];
        let mut ptrs = [Ptr::NONE; 16];
        for (ptr, (_, child)) in ptrs.iter_mut().zip(new) {
            *ptr = self.node(works, *child);
        }
        let (room, ptr) = self.room(draft.record.len());
        room.copy_from_slice(draft.record);
        for (ptr, (at, _)) in ptrs.iter().zip(new) {
            room[*at..*at + 8].copy_from_slice(&ptr.0.to_le_bytes());
        }
        ptr
    }

    /// Finishes the last page; the segment that is open then, and its first page without use.
    pub(super) fn finish(&mut self) -> Option<(u64, u32)> {
        self.finish_page();
        self.next.map(|(segment, _, page)| (segment, page))
    }
}
