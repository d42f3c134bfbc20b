//! Images that agents had made, and how many may be made in a day.

use async_trait::async_trait;
use sid_types::{AgentId, Image, ImageFormat, ImageId, Principal, Scope, Timestamp, UserId};

use crate::{Page, PageRequest, PairFilter, Right, StoreError};

/// Most bytes of an image.
pub const MOST_IMAGE_BYTES: usize = 20_000_000;
/// Most characters of what was asked for.
pub const MOST_PROMPT_CHARS: usize = 8_000;

/// How many images may be made in a day of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCaps {
    /// For one human.
    pub user: u64,
    /// For the tenant, all its humans together.
    pub tenant: u64,
}

/// Images by id.
///
/// An image belongs to the agent and the human of its conversation, and whoever sees that sees it; it goes with the conversation.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Keeps an image. Whose it is follows from the conversation; the number of bytes and the time are the store's to say. The same id again is a
    /// repetition: it changes nothing and answers the image that is there.
    ///
    /// Errors: `NotFound` (a conversation that is not the scope's), `TooLarge`, `Invalid` (what [`check_image`] refuses), `Exists` (the id is
    /// another conversation's).
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError>;

    /// One of them, without its bytes. Errors: `NotFound`.
    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError>;

    /// Its bytes. Errors: `NotFound`.
    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError>;

    /// Images, newest first.
    async fn images(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Image>, StoreError>;

    /// Forgets one. For people: an agent's turn is answered as if there were none. Errors: `NotFound`.
    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError>;

    /// Counts images that are about to be made for the scope's human and tenant, or gives some back (less than 0) that were not made.
    /// Deleting images gives nothing back.
    ///
    /// Errors: `Invalid`, and nothing is counted, when it would be more than one of the caps; `NotFound` (tenant, user).
    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError>;
}

/// What a store answers who may not see an image, and when there is none.
pub const NO_IMAGE: StoreError = StoreError::NotFound { what: "image" };

/// Whether the scope may delete images of this agent and human.
#[must_use]
pub fn may_drop_images(scope: &Scope, agent: AgentId, user: Option<UserId>) -> bool {
    !matches!(scope.principal(), Principal::Turn { .. }) && Right::to_conversation(scope, agent, user)
}

/// Checks what is written, for implementers.
///
/// Errors: `TooLarge`; `Invalid` for bytes that are not of the format.
pub fn check_image(image: &Image, bytes: &[u8]) -> Result<(), StoreError> {
    let most = |what: &'static str, size: usize, limit: usize| {
        if size > limit { Err(StoreError::TooLarge { what, size: size as u64, limit: limit as u64 }) } else { Ok(()) }
    };
    most("image (bytes)", bytes.len(), MOST_IMAGE_BYTES)?;
    most("prompt (characters)", image.prompt.chars().count(), MOST_PROMPT_CHARS)?;
    if ImageFormat::of(bytes) != Some(image.format) {
        return Err(StoreError::Invalid(format!("these bytes are no {} image", image.format.as_str())));
    }
    Ok(())
}

/// The day that images are counted for.
#[must_use]
pub fn image_day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(86_400)
}

/// For a count that would be more than a cap.
#[must_use]
pub fn too_many_images(most: u64, whose: &str) -> StoreError {
    StoreError::Invalid(format!("{most} images may be made in a day for {whose}, and this would be more: wait for tomorrow (UTC)"))
}
