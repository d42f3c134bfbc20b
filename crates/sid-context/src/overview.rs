//! The overview: what an assistant reads when it starts, of a fixed size whatever there is.

use futures::future::try_join_all;
use futures::try_join;
use sid_memory::{Count, cut_to};
use sid_store::{Below, ItemFilter, Page, PageRequest, SeenItem, Whose, is_shareable};
use sid_types::{Item, ItemId, ItemKind, Scope, ShareLevel, Timestamp, Tokens, UserId};

use crate::error::Result;
use crate::ground::Grounding;
use crate::service::{ContextService, human_of};

/// Budgets that an overview may have, in tokens.
pub const BUDGETS: std::ops::RangeInclusive<u32> = 200..=32_000;
/// What it costs where nobody says.
pub const USUAL_BUDGET: Tokens = Tokens(2_000);

/// What an entry costs beside its words: id, state, time and punctuation, as they stand in the answer.
const ENTRY: u32 = 30;
/// No kind has fewer heads looked at than this, none more than [`MOST_HEADS`].
const FEWEST_HEADS: usize = 8;
const MOST_HEADS: usize = 400;

/// The kinds of an overview in the order of their weight, and the share of the budget that each may take before the others had theirs.
const SHARES: [(ItemKind, u32); 8] = [
    (ItemKind::Note, 40),
    (ItemKind::Handoff, 10),
    (ItemKind::Project, 12),
    (ItemKind::Preference, 10),
    (ItemKind::Hint, 6),
    (ItemKind::Memory, 12),
    (ItemKind::Page, 6),
    (ItemKind::Secret, 4),
];

/// One line of an overview; whole notes have their text with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Read it whole by this.
    pub id: ItemId,
    /// What it is.
    pub kind: ItemKind,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub state: String,
    /// For notes: the text, cut if it is too long for the budget.
    pub body: Option<String>,
    /// Whether `body` was cut.
    pub is_cut: bool,
    /// What may be done with it.
    pub level: ShareLevel,
    /// Whether it is somebody else's, shared.
    pub is_shared: bool,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an assistant reads when it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// What day it is.
    pub grounding: Grounding,
    /// By kind in the order of weight; inside a kind the last changed first.
    pub heads: Vec<Head>,
    /// Changes that wait for the user's consent.
    pub open_proposals: usize,
    /// Kinds of which there is more than is shown.
    pub more: Vec<ItemKind>,
    /// What it costs, in tokens: never more than the budget.
    pub tokens: Tokens,
}

/// What was read of one kind, and how much of it is shown.
struct Shelf {
    /// Whose overview it is.
    user: UserId,
    kind: ItemKind,
    share: u32,
    heads: Vec<SeenItem>,
    has_more: bool,
    shown: Vec<Head>,
    spent: u32,
}

impl ContextService {
    /// What the user's assistant should know before the first word, within `budget`: notes whole, of everything else the titles.
    ///
    /// Cost goes by the budget, not by how much there is. Units: tokens of `count`.
    pub async fn overview(&self, scope: &Scope, budget: Tokens, count: &Count<'_>) -> Result<Overview> {
        let budget = budget.0.clamp(*BUDGETS.start(), *BUDGETS.end());
        let user = human_of(scope)?;
        let most = (budget as usize / 25).clamp(FEWEST_HEADS, MOST_HEADS);
        let mut filter = crate::service::of_user(scope)?.kind(ItemKind::Proposal);
        filter.states = vec!["open".into()];
        // The questions do not depend on each other: asked at once they take as long as the slowest.
        let (grounding, shared, proposals, own) = try_join!(
            self.grounding(scope),
            self.shared(scope, most),
            async { Ok(self.items.items(scope, &filter, PageRequest { after: None, limit: 100 }).await?) },
            try_join_all(SHARES.map(|(kind, _)| self.own(scope, kind, most))),
        )?;
        let open_proposals = proposals.items.len();
        let mut shelves: Vec<Shelf> = Vec::with_capacity(SHARES.len());
        for ((kind, share), (own, has_more)) in SHARES.into_iter().zip(own) {
            let others = shared.items.iter().filter(|seen| seen.item.kind == kind).cloned();
            let mut heads: Vec<SeenItem> = own.into_iter().chain(others).collect();
            heads.retain(|seen| seen.item.state != "archived");
            let has_more = has_more || shared.next.is_some();
            shelves.push(Shelf { user, kind, share, heads, has_more, shown: Vec::new(), spent: 0 });
        }

        let mut left = budget.saturating_sub(count(&grounding.words).0 + ENTRY);
        // First each kind in its share, then what is left over goes by weight.
        for shelf in &mut shelves {
            let room = (budget * shelf.share / 100).min(left);
            left -= shelf.fill(room, count);
        }
        for shelf in &mut shelves {
            left -= shelf.fill(left, count);
        }
        let more = shelves.iter().filter(|s| s.has_more || s.shown.len() < s.heads.len()).map(|s| s.kind).collect();
        let heads = shelves.into_iter().flat_map(|shelf| shelf.shown).collect();
        Ok(Overview { grounding, heads, open_proposals, more, tokens: Tokens(budget - left) })
    }

    /// What others share, of all kinds in two questions, for there is seldom much of it: notes with their bodies, the others without.
    async fn shared(&self, scope: &Scope, most: usize) -> Result<Page<SeenItem>> {
        let whose = Whose::SharedWith(human_of(scope)?);
        let page = || PageRequest { after: None, limit: most };
        let notes = ItemFilter { bodies: true, ..ItemFilter::of(whose).kind(ItemKind::Note) };
        let mut shared = self.items.items(scope, &notes, page()).await?;
        let kinds = SHARES.iter().map(|(kind, _)| *kind).filter(|kind| is_shareable(*kind) && *kind != ItemKind::Note).collect();
        let others = self.items.items(scope, &ItemFilter { kinds, ..ItemFilter::of(whose) }, page()).await?;
        shared.items.extend(others.items);
        shared.next = shared.next.or(others.next);
        Ok(shared)
    }

    /// The user's own heads of one kind, and whether there are more.
    async fn own(&self, scope: &Scope, kind: ItemKind, most: usize) -> Result<(Vec<SeenItem>, bool)> {
        if kind == ItemKind::Handoff {
            let waiting = self.waiting_handoffs(scope, most + 1).await?;
            let has_more = waiting.len() > most;
            let heads = waiting.into_iter().take(most).map(|item| SeenItem { item, level: ShareLevel::Full }).collect();
            return Ok((heads, has_more));
        }
        // Notes and memories are read as they are; of trees only the tops, which lead to the rest.
        let below = (!matches!(kind, ItemKind::Note | ItemKind::Memory)).then_some(Below::Tops);
        let bodies = kind == ItemKind::Note;
        let filter = ItemFilter { below, bodies, ..ItemFilter::of(Whose::User(human_of(scope)?)).kind(kind) };
        let page = self.items.items(scope, &filter, PageRequest { after: None, limit: most }).await?;
        Ok((page.items, page.next.is_some()))
    }
}

impl Shelf {
    /// Shows more of what was read, for at most `room` tokens; answers what it took.
    fn fill(&mut self, room: u32, count: &Count<'_>) -> u32 {
        let before = self.spent;
        for SeenItem { item, level } in &self.heads[self.shown.len()..] {
            let left = room - (self.spent - before);
            let bare = ENTRY + count(&item.title).0;
            if bare > left {
                break;
            }
            let (body, cost) = match body_within(item, left - bare, count) {
                Some((body, cost)) => (Some(body), bare + cost),
                None => (None, bare),
            };
            let is_cut = body.as_ref().is_some_and(|body| body.len() < item.body.len());
            let is_shared = item.owner.user() != Some(self.user);
            self.shown.push(Head {
                id: item.id,
                kind: item.kind,
                title: item.title.clone(),
                state: item.state.clone(),
                body,
                is_cut,
                level: *level,
                is_shared,
                updated_at: item.updated_at,
            });
            self.spent += cost;
        }
        self.spent - before
    }
}

/// A note's text within the room, and what it costs; `None` for other kinds.
fn body_within(item: &Item, room: u32, count: &Count<'_>) -> Option<(String, u32)> {
    if item.kind != ItemKind::Note {
        return None;
    }
    let body = cut_to(&item.body, Tokens(room), count);
    Some((body.to_owned(), count(body).0.min(room)))
}
