//! Cuts what was rendered into messages. Pure.

/// What a platform counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Characters, as Unicode has them.
    Characters,
    /// Units of UTF-16: characters beyond the first 65,536 are two.
    Utf16,
}

impl Unit {
    pub(super) fn of(self, text: &str) -> usize {
        match self {
            Unit::Characters => text.chars().count(),
            Unit::Utf16 => text.encode_utf16().count(),
        }
    }

    /// How many bytes of the text are at most `most` units.
    pub(super) fn reach(self, text: &str, most: usize) -> usize {
        let mut units = 0;
        for (at, character) in text.char_indices() {
            units += match self {
                Unit::Characters => 1,
                Unit::Utf16 => character.len_utf16(),
            };
            if units > most {
                return at;
            }
        }
        text.len()
    }
}

/// A part of what was rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words, which may be cut: where it reads best, at a blank.
    Words(String),
    /// What must stay together: an entity, a link.
    Whole(String),
    /// A new line, with what stands before each line here.
    Line(String),
    /// A mark begins: what opens it, and what closes it.
    Open(&'static str, &'static str),
    /// The mark that was opened last ends.
    Close,
}

impl Piece {
    /// Adds words, if there are any.
    pub fn words(text: String, pieces: &mut Vec<Piece>) {
        if !text.is_empty() {
            pieces.push(Piece::Words(text));
        }
    }
}

/// The open marks.
type Open = Vec<(&'static str, &'static str)>;

/// A place where a message may end. The next one goes on from there.
#[derive(Clone)]
struct Place {
    /// The piece to go on with, and how many bytes of it are done.
    piece: usize,
    done: usize,
    /// The length of the message up to here, in bytes and in units.
    bytes: usize,
    units: usize,
    open: Open,
    prefix: String,
}

/// The message that is being written.
struct Cutter<'a> {
    pieces: &'a [Piece],
    unit: Unit,
    most: usize,
    text: String,
    units: usize,
    open: Open,
    /// What stands before each line.
    prefix: String,
    /// Whether anything is in this message that can be read.
    has_words: bool,
    /// The last places in reach: after a paragraph, at a line's end, at a blank.
    places: [Option<Place>; 3],
    messages: Vec<String>,
}

pub fn cut(pieces: &[Piece], unit: Unit, most: usize) -> Vec<String> {
    let mut cutter = Cutter {
        pieces,
        unit,
        most,
        text: String::new(),
        units: 0,
        open: Vec::new(),
        prefix: String::new(),
        has_words: false,
        places: [None, None, None],
        messages: Vec::new(),
    };
    let (mut at, mut done) = (0, 0);
    while at < pieces.len() {
        (at, done) = cutter.take(at, done);
    }
    cutter.finish();
    cutter.messages
}

impl Cutter<'_> {
    /// The units that may still be added, when all that is open is closed.
    fn room(&self) -> usize {
        let closing: usize = self.open.iter().map(|(_, close)| close.len()).sum();
        self.most.saturating_sub(self.units + closing)
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += self.unit.of(text);
    }

    /// Takes up a piece from its byte `done`; returns where to go on.
    fn take(&mut self, at: usize, done: usize) -> (usize, usize) {
        match &self.pieces[at] {
            Piece::Words(words) => self.words(at, done, &words[done..]),
            Piece::Whole(whole) => {
                if self.unit.of(whole) <= self.room() {
                    self.push(whole);
                    self.has_words = true;
                    (at + 1, 0)
                } else if self.has_words {
                    self.end(at, 0)
                } else {
                    // Longer than a whole message.
                    self.words(at, done, &whole[done..])
                }
            }
            Piece::Line(prefix) => self.line(at, prefix),
            Piece::Open(open, close) => {
                if self.unit.of(open) + close.len() >= self.room() && self.has_words {
                    return self.end(at, 0);
                }
                self.push(open);
                self.open.push((open, close));
                (at + 1, 0)
            }
            Piece::Close => {
                if let Some((_, close)) = self.open.pop() {
                    self.push(close);
                }
                (at + 1, 0)
            }
        }
    }

    fn line(&mut self, at: usize, prefix: &str) -> (usize, usize) {
        // An empty line stands between paragraphs; the place before it is the one to cut at.
        let ends_paragraph = matches!(self.pieces.get(at + 1), Some(Piece::Line(_)));
        let follows_line = at > 0 && matches!(self.pieces[at - 1], Piece::Line(_));
        if self.has_words && !follows_line {
            let next = self.place(at, 0, prefix);
            self.places[if ends_paragraph { 0 } else { 1 }] = Some(next);
        }
        if self.unit.of(prefix) >= self.room() {
            // A message of empty lines is none: those beyond it are left out.
            return if self.has_words { self.end(at, 0) } else { (at + 1, 0) };
        }
        self.prefix = prefix.to_owned();
        if self.has_words || !self.text.is_empty() {
            self.push("\n");
        }
        // What stands before an empty line shows nothing at its end.
        let shown = if ends_paragraph { prefix.trim_end() } else { prefix };
        let shown = shown.to_owned();
        self.push(&shown);
        (at + 1, 0)
    }

    fn place(&self, piece: usize, done: usize, prefix: &str) -> Place {
        let (bytes, units) = (self.text.len(), self.units);
        Place { piece, done, bytes, units, open: self.open.clone(), prefix: prefix.to_owned() }
    }

    fn words(&mut self, at: usize, done: usize, words: &str) -> (usize, usize) {
        let room = self.room();
        let reach = self.unit.reach(words, room);
        // Of all blanks only the last one in reach is ever needed.
        let head = &words[..reach];
        if let Some(blank) =
            head.rfind(' ').filter(|blank| self.has_words || !head[..*blank].trim().is_empty())
        {
            let mut place = self.place(at, done + blank + 1, &self.prefix);
            place.bytes += blank;
            place.units += self.unit.of(&head[..blank]);
            self.places[2] = Some(place);
        }
        self.has_words |= !head.trim().is_empty();
        let head = head.to_owned();
        self.push(&head);
        if reach == words.len() { (at + 1, 0) } else { self.end(at, done + reach) }
    }

    /// Ends a message because the piece `at` does not fit from its byte `done`: at the best place in reach. A place in
    /// the first half would make many short messages.
    fn end(&mut self, at: usize, done: usize) -> (usize, usize) {
        let half = self.most / 2;
        let best = self.places.iter_mut().filter_map(Option::take).find(|place| place.units > half);
        let place = best.unwrap_or_else(|| self.place(at, done, &self.prefix.clone()));
        self.places = [None, None, None];
        self.text.truncate(place.bytes);
        self.open = place.open;
        self.prefix = place.prefix;
        self.finish();
        for (open, _) in self.open.clone() {
            self.push(open);
        }
        let prefix = self.prefix.clone();
        self.push(&prefix);
        (place.piece, place.done)
    }

    /// Closes what is open, and keeps the message if there is anything in it.
    fn finish(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        self.units = 0;
        text.truncate(text.trim_end().len());
        // What was opened right before the cut encloses nothing.
        let mut open = self.open.clone();
        while let Some(bare) = open.last().and_then(|(last, _)| text.strip_suffix(last.trim_end())) {
            text.truncate(bare.trim_end().len());
            open.pop();
        }
        for (_, close) in open.iter().rev() {
            text.push_str(close);
        }
        if std::mem::take(&mut self.has_words) {
            self.messages.push(text);
        }
    }
}
