//! The frame of an ELF file: its header, segments and sections, each checked against the file's size.

use goblin::container::{Container, Ctx};
use goblin::elf::header::{self, Header, header32, header64};
use goblin::elf::program_header::{PT_LOAD, ProgramHeader};
use goblin::elf::section_header::{SHT_NOBITS, SectionHeader};
use scroll::{Endian, Pread};

use super::ElfError;
use super::reader::{ReadError, Reader};
use crate::target::Endianness;

/// The largest count of section headers that is read: 16 MiB of them, many times what the largest
/// objects have.
const MOST_SECTIONS: u64 = 1 << 18;
/// The largest count of segments that is read.
const MOST_SEGMENTS: u64 = 1 << 17;
/// The largest table of section names that is read, in bytes.
const MOST_NAMES: u64 = 16 << 20;
/// How many problems of one file are told; one that is wholly wrong would have thousands.
const MOST_PROBLEMS: usize = 16;

/// The frame of an ELF file.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) header: Header,
    pub(super) ctx: Ctx,
    pub(super) segments: Vec<ProgramHeader>,
    pub(super) sections: Vec<SectionHeader>,
    names: Vec<u8>,
    /// What is wrong with the file, short of making it unreadable.
    pub(super) problems: Vec<String>,
    /// Whether all that a kernel loads of it is there.
    pub(super) is_loadable: bool,
    is_stripped_to_debug: bool,
}

impl Layout {
    pub(super) fn read(file: &mut Reader<'_>) -> Result<Self, ElfError> {
        let (header, ctx) = header(file)?;
        let mut layout = Self {
            header,
            ctx,
            segments: Vec::new(),
            sections: Vec::new(),
            names: Vec::new(),
            problems: Vec::new(),
            is_loadable: true,
            is_stripped_to_debug: false,
        };
        let sections = layout.read_sections(file)?;
        layout.sections = sections;
        let before = layout.problems.len();
        let segments = layout.read_segments(file)?;
        layout.is_loadable = layout.problems.len() == before;
        layout.segments = segments;
        layout.check_overlap();
        layout.read_names(file)?;
        layout.is_stripped_to_debug = layout.find_stripped_to_debug();
        Ok(layout)
    }

    pub(super) fn class(&self) -> u8 {
        if self.ctx.container == Container::Big { 64 } else { 32 }
    }

    pub(super) fn endianness(&self) -> Endianness {
        if self.ctx.le == Endian::Little { Endianness::Little } else { Endianness::Big }
    }

    pub(super) fn endian(&self) -> Endian {
        self.ctx.le
    }

    /// Bytes of an address.
    pub(super) fn word(&self) -> u64 {
        if self.ctx.container == Container::Big { 8 } else { 4 }
    }

    pub(super) fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether a section is called `name`. Names are compared where they stand: looking for the end of each would
    /// take forever in a table without ends.
    pub(super) fn is_named(&self, section: &SectionHeader, name: &[u8]) -> bool {
        let rest = self.names.get(section.sh_name..).and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The first section called `name`, with bytes in the file.
    pub(super) fn section(&self, name: &[u8]) -> Option<&SectionHeader> {
        self.sections.iter().find(|section| section.sh_type != SHT_NOBITS && self.is_named(section, name))
    }

    /// The first segment of type `kind`.
    pub(super) fn segment(&self, kind: u32) -> Option<&ProgramHeader> {
        self.segments.iter().find(|segment| segment.p_type == kind)
    }

    /// Whether the file is separate debugging information: its allocated sections are named and have no bytes,
    /// so what the segments point at is not what they say.
    pub(super) fn is_stripped_to_debug(&self) -> bool {
        self.is_stripped_to_debug
    }

    fn find_stripped_to_debug(&self) -> bool {
        const SHF_ALLOC: u64 = 2;
        let names: [&[u8]; 3] = [b".dynamic", b".text", b".interp"];
        let allocated = |section: &&SectionHeader| {
            section.sh_flags & SHF_ALLOC != 0 && names.iter().any(|name| self.is_named(section, name))
        };
        let mut sections = self.sections.iter().filter(allocated).peekable();
        sections.peek().is_some() && sections.all(|section| section.sh_type == SHT_NOBITS)
    }

    /// Where in the file the byte at `address` is once loaded.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.p_type == PT_LOAD).find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr).filter(|within| *within < segment.p_filesz)?;
            segment.p_offset.checked_add(within)
        })
    }

    /// Reads what a section or segment covers; damage becomes a problem and `None`.
    pub(super) fn bytes(
        &mut self,
        file: &mut Reader<'_>,
        what: &str,
        offset: u64,
        len: u64,
    ) -> Result<Option<Vec<u8>>, ElfError> {
        match file.bytes(offset, len) {
            Ok(bytes) => Ok(Some(bytes.into_owned())),
            Err(err) => {
                let total = file.len();
                self.damage(what, offset, len, total, err).map(|()| None)
            }
        }
    }

    /// Notes that a part lies where it cannot; a failure of the machine ends the reading.
    pub(super) fn damage(
        &mut self,
        what: &str,
        offset: u64,
        len: u64,
        total: u64,
        err: ReadError,
    ) -> Result<(), ElfError> {
        match err {
            ReadError::Io(source) => return Err(ElfError::Read { what: what.into(), source }),
            ReadError::Beyond => self.problem(format!(
                "{what} ({len} bytes at {offset:#x}) lies beyond the end of the file ({total} bytes)"
            )),
            ReadError::TooLarge => {
                self.problem(format!("{what} ({len} bytes at {offset:#x}) is too large to be true"));
            }
        }
        Ok(())
    }

    fn read_sections(&mut self, file: &mut Reader<'_>) -> Result<Vec<SectionHeader>, ElfError> {
        let offset = self.header.e_shoff;
        if offset == 0 {
            return Ok(Vec::new());
        }
        let size = SectionHeader::size(self.ctx) as u64;
        let stride = u64::from(self.header.e_shentsize);
        if stride < size {
            if self.header.e_shnum != 0 {
                self.problem(format!("a section header is said to have {stride} bytes, and needs {size}"));
            }
            return Ok(Vec::new());
        }
        let mut count = u64::from(self.header.e_shnum);
        if count == 0 {
            // More than 65,279 sections: the count stands in the first header (gABI, "e_shnum").
            let Some(first) = self.bytes(file, "the section header table", offset, size)? else {
                return Ok(Vec::new());
            };
            count = first.pread_with::<SectionHeader>(0, self.ctx).map_or(0, |first| first.sh_size);
        }
        if count > MOST_SECTIONS {
            self.problem(format!("the file is said to have {count} sections, which is too many to be true"));
            return Ok(Vec::new());
        }
        let Some(table) = self.bytes(file, "the section header table", offset, count * stride)? else {
            return Ok(Vec::new());
        };
        Ok((0..count)
            .filter_map(|index| table.pread_with::<SectionHeader>((index * stride) as usize, self.ctx).ok())
            .collect())
    }

    fn read_segments(&mut self, file: &mut Reader<'_>) -> Result<Vec<ProgramHeader>, ElfError> {
        let mut count = u64::from(self.header.e_phnum);
        if count == u64::from(u16::MAX) {
            // PN_XNUM: the count stands in the first section header.
            count = self.sections.first().map_or(count, |first| u64::from(first.sh_info));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        // Core files have one for each mapping; `vm.max_map_count` allows 65,530 unless raised.
        if count > MOST_SEGMENTS {
            self.problem(format!("the file is said to have {count} segments, which is too many to be true"));
            return Ok(Vec::new());
        }
        let size = ProgramHeader::size(self.ctx) as u64;
        let stride = u64::from(self.header.e_phentsize);
        if stride < size {
            self.problem(format!("a program header is said to have {stride} bytes, and needs {size}"));
            return Ok(Vec::new());
        }
        let offset = self.header.e_phoff;
        let Some(table) =
            self.bytes(file, "the program header table", offset, count.saturating_mul(stride))?
        else {
            return Ok(Vec::new());
        };
        let segments: Vec<ProgramHeader> = (0..count)
            .filter_map(|index| table.pread_with::<ProgramHeader>((index * stride) as usize, self.ctx).ok())
            .collect();
        // A core file may be cut on purpose (`ulimit -c`), and debugging information keeps the segments of the
        // program that it belongs to.
        if self.header.e_type != header::ET_CORE {
            let total = file.len();
            for (index, segment) in
                segments.iter().enumerate().filter(|(_, segment)| segment.p_type == PT_LOAD)
            {
                let end = segment.p_offset.checked_add(segment.p_filesz);
                if segment.p_filesz > 0 && end.is_none_or(|end| end > total) {
                    self.problem(format!(
                        "segment {index} ({} bytes at {:#x}) lies beyond the end of the file ({total} bytes)",
                        segment.p_filesz, segment.p_offset
                    ));
                }
            }
        }
        Ok(segments)
    }

    fn check_overlap(&mut self) {
        let header = if self.class() == 64 { header64::SIZEOF_EHDR } else { header32::SIZEOF_EHDR } as u64;
        let claimed = u64::from(self.header.e_ehsize);
        if claimed != header {
            self.problem(format!("the ELF header is said to have {claimed} bytes, and has {header}"));
        }
        let table = |offset: u64, count: usize, size: u16| {
            (count > 0).then(|| (offset, offset.saturating_add(count as u64 * u64::from(size))))
        };
        let segments = table(self.header.e_phoff, self.segments.len(), self.header.e_phentsize);
        let sections = table(self.header.e_shoff, self.sections.len(), self.header.e_shentsize);
        if segments.is_some_and(|(start, _)| start < header) {
            self.problem("the program header table overlaps the ELF header".into());
        }
        if sections.is_some_and(|(start, _)| start < header) {
            self.problem("the section header table overlaps the ELF header".into());
        }
        if let (Some(segments), Some(sections)) = (segments, sections)
            && segments.0 < sections.1
            && sections.0 < segments.1
        {
            self.problem("the section header table overlaps the program header table".into());
        }
    }

    fn read_names(&mut self, file: &mut Reader<'_>) -> Result<(), ElfError> {
        let mut index = usize::from(self.header.e_shstrndx);
        if index == usize::from(u16::MAX) {
            // SHN_XINDEX: the index stands in the first section header.
            index = self.sections.first().map_or(0, |first| first.sh_link as usize);
        }
        if index == 0 || self.sections.is_empty() {
            return Ok(());
        }
        let Some(section) = self.sections.get(index) else {
            let count = self.sections.len();
            self.problem(format!(
                "the section names are said to be in section {index}, and there are {count}"
            ));
            return Ok(());
        };
        if section.sh_type == SHT_NOBITS {
            return Ok(());
        }
        let (offset, len) = (section.sh_offset, section.sh_size);
        if len > MOST_NAMES {
            self.problem(format!("the section names ({len} bytes at {offset:#x}) are too large to be true"));
            return Ok(());
        }
        if let Some(names) = self.bytes(file, "the table of section names", offset, len)? {
            self.names = names;
        }
        Ok(())
    }
}

fn header(file: &mut Reader<'_>) -> Result<(Header, Ctx), ElfError> {
    let total = file.len();
    let read = |err| match err {
        ReadError::Io(source) => ElfError::Read { what: "the ELF header".into(), source },
        ReadError::Beyond | ReadError::TooLarge => ElfError::Truncated { len: total },
    };
    let ident = file.bytes(0, total.min(16)).map_err(read)?.into_owned();
    if !ident.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    if ident.len() < 16 {
        return Err(ElfError::Truncated { len: total });
    }
    let (container, size) = match ident[header::EI_CLASS] {
        header::ELFCLASS32 => (Container::Little, header32::SIZEOF_EHDR),
        header::ELFCLASS64 => (Container::Big, header64::SIZEOF_EHDR),
        found => return Err(ElfError::Class { found }),
    };
    let endian = match ident[header::EI_DATA] {
        header::ELFDATA2LSB => Endian::Little,
        header::ELFDATA2MSB => Endian::Big,
        found => return Err(ElfError::Data { found }),
    };
    if ident[header::EI_VERSION] != header::EV_CURRENT {
        return Err(ElfError::Version { found: u32::from(ident[header::EI_VERSION]) });
    }
    let bytes = file.bytes(0, size as u64).map_err(read)?;
    let header: Header = match container {
        Container::Little => header32::Header::parse(&bytes).map(Into::into),
        Container::Big => header64::Header::parse(&bytes).map(Into::into),
    }
    .map_err(|_| ElfError::Truncated { len: total })?;
    if header.e_version != u32::from(header::EV_CURRENT) {
        // The right number in the wrong byte order is the commonest damage of this kind.
        if header.e_version.swap_bytes() == u32::from(header::EV_CURRENT) {
            return Err(ElfError::WrongByteOrder { found: ident[header::EI_DATA] });
        }
        return Err(ElfError::Version { found: header.e_version });
    }
    Ok((header, Ctx::new(container, endian)))
}
