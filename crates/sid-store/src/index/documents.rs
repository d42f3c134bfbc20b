//! What is known of each document, in parallel arrays, and the order of each conversation.

use std::collections::HashMap;

use sid_types::{ConversationId, Role, Seq};

use super::Document;
use crate::{RecordId, RecordKinds, SearchQuery};

/// No document.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Place {
    conversation: u32,
    seq: u64,
    /// The searchable messages before and after it.
    prev: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
struct Facts {
    at_micros: i64,
    role: Option<Role>,
    prefix_len: u16,
    is_alive: bool,
}

/// The documents of a partition. Numbers are given in order of insertion and change only by compaction.
#[derive(Debug, Default)]
pub(super) struct Documents {
    ids: Vec<RecordId>,
    facts: Vec<Facts>,
    places: Vec<Place>,
    numbers: HashMap<RecordId, u32>,
    conversations: HashMap<ConversationId, u32>,
    /// The last searchable message of each conversation.
    last: Vec<u32>,
    alive: usize,
}

impl Documents {
    /// Slots, dead ones too.
    pub(super) fn slots(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    pub(super) fn number(&self, id: RecordId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn id(&self, doc: u32) -> RecordId {
        self.ids[doc as usize]
    }

    pub(super) fn is_alive(&self, doc: u32) -> bool {
        self.facts[doc as usize].is_alive
    }

    pub(super) fn prefix_len(&self, doc: u32) -> usize {
        usize::from(self.facts[doc as usize].prefix_len)
    }

    pub(super) fn at_micros(&self, doc: u32) -> i64 {
        self.facts[doc as usize].at_micros
    }

    pub(super) fn prev(&self, doc: u32) -> u32 {
        self.places[doc as usize].prev
    }

    pub(super) fn next(&self, doc: u32) -> u32 {
        self.places[doc as usize].next
    }

    pub(super) fn neighbours(&self, doc: u32) -> (Option<RecordId>, Option<RecordId>) {
        let id = |d: u32| (d != NONE).then(|| self.id(d));
        (id(self.prev(doc)), id(self.next(doc)))
    }

    /// Takes a document in, which must not be there, and links it into its conversation.
    pub(super) fn push(&mut self, document: &Document<'_>) -> u32 {
        let doc = u32::try_from(self.ids.len()).ok().filter(|d| *d != NONE).expect("a partition has fewer than 2^32 documents");
        self.ids.push(document.id);
        self.facts.push(Facts {
            at_micros: document.at.as_microsecond(),
            role: document.role,
            prefix_len: u16::try_from(document.prefix_len()).unwrap_or(u16::MAX),
            is_alive: true,
        });
        self.numbers.insert(document.id, doc);
        self.alive += 1;
        let mut place = Place { conversation: NONE, seq: 0, prev: NONE, next: NONE };
        if let (Some(conversation), Some(Seq(seq))) = (document.conversation, document.seq) {
            let number = self.conversation_number(conversation);
            (place.conversation, place.seq) = (number, seq);
            // Messages come in order of sequence, so this walk is over at once; a store that loads in another order pays for it.
            place.prev = self.last[number as usize];
            while place.prev != NONE && self.places[place.prev as usize].seq > seq {
                place.next = place.prev;
                place.prev = self.prev(place.prev);
            }
            if place.prev != NONE {
                self.places[place.prev as usize].next = doc;
            }
            match place.next {
                NONE => self.last[number as usize] = doc,
                next => self.places[next as usize].prev = doc,
            }
        }
        self.places.push(place);
        doc
    }

    /// Buries a document and closes the gap in its conversation.
    pub(super) fn bury(&mut self, doc: u32) {
        let Place { conversation, prev, next, .. } = self.places[doc as usize];
        if conversation != NONE {
            if prev != NONE {
                self.places[prev as usize].next = next;
            }
            match next {
                NONE => self.last[conversation as usize] = prev,
                next => self.places[next as usize].prev = prev,
            }
        }
        self.facts[doc as usize].is_alive = false;
        self.numbers.remove(&self.ids[doc as usize]);
        self.alive -= 1;
    }

    /// The messages of a conversation, last first.
    pub(super) fn of_conversation(&self, conversation: ConversationId) -> Vec<u32> {
        let mut doc = self.conversations.get(&conversation).map_or(NONE, |c| self.last[*c as usize]);
        let mut docs = Vec::new();
        while doc != NONE {
            docs.push(doc);
            doc = self.prev(doc);
        }
        docs
    }

    fn conversation_number(&mut self, conversation: ConversationId) -> u32 {
        let fresh = u32::try_from(self.last.len()).expect("a partition has fewer than 2^32 conversations");
        let number = *self.conversations.entry(conversation).or_insert(fresh);
        if number == fresh {
            self.last.push(NONE);
        }
        number
    }

    /// Which documents the query may look at. Dead ones never.
    pub(super) fn eligible(&self, query: &SearchQuery) -> Eligible<'_> {
        let number = |c: &ConversationId| self.conversations.get(c).copied().unwrap_or(NONE - 1);
        Eligible {
            documents: self,
            kinds: query.kinds,
            conversation: query.conversation.as_ref().map(number),
            role: query.role,
            within: query.within.map(|w| (w.from.as_microsecond(), w.to.as_microsecond())),
            in_prompt: query.in_prompt.as_ref().map(|(c, from)| (number(c), from.0)),
        }
    }

    /// Drops the dead; answers the new number of each slot (`NONE` for dead ones).
    pub(super) fn compact(&mut self) -> Vec<u32> {
        let mut renumbered = vec![NONE; self.slots()];
        let mut next = 0_u32;
        for (slot, number) in renumbered.iter_mut().enumerate() {
            if self.facts[slot].is_alive {
                *number = next;
                next += 1;
            }
        }
        let moved = |doc: u32| if doc == NONE { NONE } else { renumbered[doc as usize] };
        for place in &mut self.places {
            (place.prev, place.next) = (moved(place.prev), moved(place.next));
        }
        for last in &mut self.last {
            *last = moved(*last);
        }
        for number in self.numbers.values_mut() {
            *number = moved(*number);
        }
        keep_alive(&mut self.ids, &renumbered);
        keep_alive(&mut self.places, &renumbered);
        keep_alive(&mut self.facts, &renumbered);
        renumbered
    }

    pub(super) fn bytes(&self) -> usize {
        let per_slot = size_of::<RecordId>() + size_of::<Facts>() + size_of::<Place>();
        self.ids.capacity() * per_slot + self.numbers.capacity() * (size_of::<(RecordId, u32)>() + 1) + self.conversations.capacity() * 24
    }
}

/// What a query may look at.
pub(super) struct Eligible<'d> {
    documents: &'d Documents,
    kinds: RecordKinds,
    conversation: Option<u32>,
    role: Option<Role>,
    within: Option<(i64, i64)>,
    in_prompt: Option<(u32, u64)>,
}

impl Eligible<'_> {
    pub(super) fn holds(&self, doc: u32) -> bool {
        let i = doc as usize;
        let (facts, place) = (&self.documents.facts[i], &self.documents.places[i]);
        facts.is_alive
            && has_kind(self.kinds, self.documents.ids[i])
            && self.conversation.is_none_or(|c| place.conversation == c)
            && self.role.is_none_or(|r| facts.role == Some(r))
            && self.within.is_none_or(|(from, to)| from <= facts.at_micros && facts.at_micros < to)
            && self.in_prompt.is_none_or(|(c, from)| place.conversation != c || place.seq < from)
    }

    /// By slot.
    pub(super) fn mask(&self) -> Vec<bool> {
        (0..self.documents.slots() as u32).map(|doc| self.holds(doc)).collect()
    }

    /// How many they are. Without filters, which is how turns search, only the messages in the prompt are counted.
    pub(super) fn count(&self) -> usize {
        if self.kinds != RecordKinds::ALL || self.conversation.is_some() || self.role.is_some() || self.within.is_some() {
            return (0..self.documents.slots() as u32).filter(|doc| self.holds(*doc)).count();
        }
        let Some((conversation, from)) = self.in_prompt else { return self.documents.alive };
        let mut hidden = 0;
        let mut doc = self.documents.last.get(conversation as usize).copied().unwrap_or(NONE);
        while doc != NONE && self.documents.places[doc as usize].seq >= from {
            hidden += 1;
            doc = self.documents.prev(doc);
        }
        self.documents.alive - hidden
    }
}

/// Keeps the slots that have a new number.
pub(super) fn keep_alive<T>(slots: &mut Vec<T>, renumbered: &[u32]) {
    let mut slot = 0;
    slots.retain(|_| {
        slot += 1;
        renumbered[slot - 1] != NONE
    });
    slots.shrink_to_fit();
}

fn has_kind(kinds: RecordKinds, id: RecordId) -> bool {
    match id {
        RecordId::Message(_) => kinds.messages,
        RecordId::Passage(_) => kinds.passages,
        RecordId::Diary(_) => kinds.diary,
    }
}
