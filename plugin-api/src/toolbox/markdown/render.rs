//! Reads Markdown, and writes it in a dialect as pieces that may be cut. Pure.

use super::cut::Piece;
use super::dialect::{Dialect, Mark};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, TextMergeStream};
use std::ops::Range;

/// How deep quotations and lists are shown: what lies deeper stands at this depth.
const DEPTH_MAX: usize = 6;
/// What stands between two columns of a table.
const COLUMN_GAP: &str = " | ";
/// Lined up, a table may have so many times the characters of its cells, and always so many as a small one.
const TABLE_GROWTH: usize = 4;
const TABLE_SMALL: usize = 2_048;

/// A link of more than `link_max` bytes is written out, for it cannot be cut.
pub fn render(text: &str, dialect: Dialect, link_max: usize) -> Vec<Piece> {
    let mut writer = Writer::new(dialect, link_max);
    for event in TextMergeStream::new(Parser::new_ext(text, options())) {
        writer.hear(event);
    }
    writer.pieces
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// Where in the text words stand that are neither code nor of a link.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut within = 0_usize;
    let mut words = Vec::new();
    for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(_) | Tag::Link { .. } | Tag::Image { .. }) => within += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::Link | TagEnd::Image) => within = within.saturating_sub(1),
            Event::Text(_) if within == 0 => words.push(range),
            _ => {}
        }
    }
    words
}

/// What stands before each line, from the outside in.
#[derive(Clone)]
enum Level {
    Quote,
    /// An item of a list: the line that begins it has its sign, the others are indented.
    Item,
}

struct Writer {
    dialect: Dialect,
    link_max: usize,
    pieces: Vec<Piece>,
    levels: Vec<Level>,
    /// The lists that are open: the number of the next item, if they count.
    lists: Vec<Option<u64>>,
    /// The marks that are open, each once.
    marks: Vec<Mark>,
    /// How many of those that are open in the text were open already.
    doubled: Vec<(Mark, usize)>,
    /// Whether an empty line is due before the next block.
    gap: Gap,
    /// The link that is open: where it leads, and its words.
    link: Option<(String, String)>,
    /// How many pictures are open within it.
    within_link: usize,
    table: Option<Table>,
}

#[derive(Clone, Copy, PartialEq)]
enum Gap {
    /// Nothing was written yet, or a sign was just before.
    None,
    Line,
    Paragraph,
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
    cell: String,
}

impl Writer {
    fn new(dialect: Dialect, link_max: usize) -> Writer {
        Writer {
            dialect,
            link_max,
            pieces: Vec::new(),
            levels: Vec::new(),
            lists: Vec::new(),
            marks: Vec::new(),
            doubled: Vec::new(),
            gap: Gap::None,
            link: None,
            within_link: 0,
            table: None,
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.say(&text),
            Event::Code(code) => {
                if self.collects(&code) {
                    return;
                }
                self.begin_block();
                self.open(Mark::Code);
                let code = if self.dialect.fences() { code.replace('`', "'") } else { code.into_string() };
                self.dialect.escape(&code, true, &mut self.pieces);
                self.close(Mark::Code);
            }
            // The reader sees what was written.
            Event::Html(html) | Event::InlineHtml(html) => self.say(&html),
            Event::SoftBreak | Event::HardBreak => {
                if !self.collects(" ") {
                    self.line();
                }
            }
            Event::Rule => {
                self.begin_block();
                self.pieces.push(Piece::Words("\u{2014}\u{2014}\u{2014}".to_owned()));
                self.gap = Gap::Paragraph;
            }
            Event::TaskListMarker(done) => {
                self.begin_block();
                self.pieces.push(Piece::Words(if done { "\u{2611} " } else { "\u{2610} " }.to_owned()));
            }
            Event::FootnoteReference(_) | Event::InlineMath(_) | Event::DisplayMath(_) => {}
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Heading { .. } => {
                self.begin_block();
                self.open(Mark::Bold);
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                self.levels.push(Level::Quote);
                if self.dialect.quote().is_empty() {
                    self.open(Mark::Quote);
                } else {
                    self.renew_line();
                }
            }
            Tag::CodeBlock(_) => self.open(Mark::Block),
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.begin_block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Emphasis => self.open(Mark::Italic),
            Tag::Strong => self.open(Mark::Bold),
            Tag::Strikethrough => self.open(Mark::Strike),
            // A picture within a link is its words.
            Tag::Link { .. } | Tag::Image { .. } if self.link.is_some() => self.within_link += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } if self.table.is_none() => {
                self.begin_block();
                self.link = Some((dest_url.to_string(), String::new()));
            }
            Tag::Table(_) => {
                self.begin_block();
                self.table = Some(Table::default());
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::Paragraph => self.begin_block(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.gap = Gap::Paragraph,
            TagEnd::Heading(_) => {
                self.close(Mark::Bold);
                self.gap = Gap::Paragraph;
            }
            TagEnd::BlockQuote(_) => {
                self.levels.pop();
                if self.dialect.quote().is_empty() {
                    self.close(Mark::Quote);
                }
                self.gap = Gap::Paragraph;
            }
            TagEnd::CodeBlock => {
                self.close(Mark::Block);
                self.gap = Gap::Paragraph;
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap = if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line };
            }
            TagEnd::Item => {
                self.levels.pop();
                self.gap = Gap::Line;
            }
            TagEnd::Emphasis => self.close(Mark::Italic),
            TagEnd::Strong => self.close(Mark::Bold),
            TagEnd::Strikethrough => self.close(Mark::Strike),
            TagEnd::Link | TagEnd::Image if self.within_link > 0 => self.within_link -= 1,
            TagEnd::Link | TagEnd::Image => self.link_ends(),
            TagEnd::TableCell => {
                if let Some(table) = &mut self.table {
                    let cell = std::mem::take(&mut table.cell);
                    if let Some(row) = table.rows.last_mut() {
                        row.push(cell.trim().to_owned());
                    }
                }
            }
            TagEnd::Table => self.table_ends(),
            _ => {}
        }
    }

    /// Takes words up where they are not written at once: of a link, or in a table.
    fn collects(&mut self, words: &str) -> bool {
        match (&mut self.link, &mut self.table) {
            (Some((_, collected)), _) => collected.push_str(words),
            (None, Some(table)) => table.cell.push_str(words),
            (None, None) => return false,
        }
        true
    }

    fn say(&mut self, text: &str) {
        if self.collects(text) {
            return;
        }
        let is_block = self.marks.contains(&Mark::Block);
        // The last line of a block of code ends with its fence.
        let text = if is_block { text.strip_suffix('\n').unwrap_or(text) } else { text };
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            if !line.is_empty() {
                if !is_block {
                    self.begin_block();
                }
                let has_fences = is_block && self.dialect.fences();
                let line = if has_fences { line.replace("```", "'''") } else { line.to_owned() };
                self.dialect.escape(&line, is_block, &mut self.pieces);
            }
            if lines.peek().is_some() {
                self.line();
            }
        }
    }

    /// Opens a mark, unless it is open.
    fn open(&mut self, mark: Mark) {
        if self.link.is_some() || self.table.is_some() {
            return;
        }
        if self.marks.contains(&mark) {
            self.doubled.push((mark, self.marks.len()));
            return;
        }
        self.begin_block();
        self.marks.push(mark);
        let (open, close) = self.dialect.mark(mark);
        self.pieces.push(Piece::Open(open, close));
    }

    fn close(&mut self, mark: Mark) {
        if self.link.is_some() || self.table.is_some() {
            return;
        }
        if let Some(at) = self.doubled.iter().rposition(|(doubled, _)| *doubled == mark) {
            self.doubled.remove(at);
        } else if self.marks.last() == Some(&mark) {
            self.marks.pop();
            self.pieces.push(Piece::Close);
        }
    }

    /// What stands before each line here.
    fn prefix(&self) -> String {
        let shown = self.levels.iter().take(DEPTH_MAX);
        shown
            .map(|level| match level {
                Level::Quote => self.dialect.quote(),
                Level::Item => "    ",
            })
            .collect()
    }

    /// A new line within a block: marks of words end with their line on some platforms.
    fn line(&mut self) {
        let line = Piece::Line(self.prefix());
        let within = self.marks.iter().filter(|mark| !mark.spans_lines());
        self.pieces.extend(within.clone().map(|_| Piece::Close));
        self.pieces.push(line);
        for mark in within {
            let (open, close) = self.dialect.mark(*mark);
            self.pieces.push(Piece::Open(open, close));
        }
    }

    /// Begins a block, if one ended before: on a line of its own, after an empty one where a paragraph ended.
    fn begin_block(&mut self) {
        let gap = std::mem::replace(&mut self.gap, Gap::None);
        let lines = match gap {
            Gap::None => 0,
            Gap::Line => 1,
            Gap::Paragraph => 2,
        };
        for _ in 0..lines {
            self.pieces.push(Piece::Line(self.prefix()));
        }
    }

    /// Puts what stands before a line to the one that was just begun.
    fn renew_line(&mut self) {
        let prefix = self.prefix();
        match self.pieces.last_mut() {
            Some(Piece::Line(last)) => *last = prefix,
            _ => self.pieces.push(Piece::Line(prefix)),
        }
        self.gap = Gap::None;
    }

    fn item(&mut self) {
        if self.gap != Gap::None || self.lists.len() > 1 || !self.pieces.is_empty() {
            let gap = std::mem::replace(&mut self.gap, Gap::None);
            let begun = matches!(self.pieces.last(), Some(Piece::Line(_)));
            if gap != Gap::None || !begun {
                self.pieces.push(Piece::Line(self.prefix()));
            }
        }
        let sign = match self.lists.last_mut() {
            Some(Some(number)) => {
                let sign = format!("{number}. ");
                *number = number.saturating_add(1);
                sign
            }
            _ => "\u{2022} ".to_owned(),
        };
        self.pieces.push(Piece::Words(sign));
        self.levels.push(Level::Item);
    }

    fn link_ends(&mut self) {
        let Some((url, words)) = self.link.take() else { return };
        match self.dialect.link(&url, &words).filter(|link| link.len() <= self.link_max) {
            Some(link) => self.pieces.push(Piece::Whole(link)),
            None => {
                self.say(&words);
                if !url.is_empty() && url != words {
                    self.say(&format!(" ({url})"));
                }
            }
        }
    }

    /// A table is shown in letters of one width, where a column is one. One wide cell and many rows would make a text of
    /// any length: then its columns are not lined up.
    fn table_ends(&mut self) {
        let Some(mut table) = self.table.take() else { return };
        // The parser fills short rows up.
        for row in &mut table.rows {
            row.truncate(row.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1));
        }
        let columns = table.rows.iter().map(Vec::len).max().unwrap_or_default();
        let taken = |cell: &String| cell.chars().count() + COLUMN_GAP.len();
        let width = |column: usize| {
            table.rows.iter().filter_map(|row| row.get(column)).map(taken).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        let plain: usize = table.rows.iter().flatten().map(taken).sum();
        if widths.iter().sum::<usize>() * table.rows.len() > TABLE_GROWTH * plain + TABLE_SMALL {
            widths.fill(0);
        }
        let blanks = |width: usize, cell: &String| " ".repeat(width.saturating_sub(taken(cell)));
        let row = |cells: &[String]| {
            let cell = |(cell, width): (&String, &usize)| format!("{cell}{}", blanks(*width, cell));
            cells.iter().zip(&widths).map(cell).collect::<Vec<_>>().join(COLUMN_GAP).trim_end().to_owned()
        };
        let rule = widths
            .iter()
            .map(|width| "-".repeat(width.saturating_sub(COLUMN_GAP.len())))
            .collect::<Vec<_>>()
            .join("-+-");
        let mut lines: Vec<String> = table.rows.iter().map(|cells| row(cells)).collect();
        if !lines.is_empty() {
            lines.insert(1, rule);
        }
        self.open(Mark::Block);
        self.say(&lines.join("\n"));
        self.close(Mark::Block);
        self.gap = Gap::Paragraph;
    }
}
