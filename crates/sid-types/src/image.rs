//! Images that agents had made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AgentId, ConversationId, ImageId, UserId};

named! {
    /// What an image's bytes are.
    ImageFormat {
        /// Portable Network Graphics.
        Png = "png",
        /// JPEG.
        Jpeg = "jpeg",
        /// WebP.
        Webp = "webp",
    }
}

impl ImageFormat {
    /// What the bytes themselves say, whatever anybody claims of them. `None`: no image that is known here.
    ///
    /// ```
    /// # use sid_types::ImageFormat;
    /// assert_eq!(ImageFormat::of(b"\x89PNG\r\n\x1a\n...."), Some(ImageFormat::Png));
    /// assert_eq!(ImageFormat::of(b"<svg onload=alert(1)>"), None);
    /// ```
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }

    /// For `Content-Type`.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// An image that an agent had made: all but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// The agent that had it made.
    pub agent: AgentId,
    /// The human of the conversation, if there is one: whose it is.
    pub user: Option<UserId>,
    /// Where. It goes with this conversation.
    pub conversation: ConversationId,
    /// What was asked for.
    pub prompt: String,
    /// The model that made it.
    pub model: String,
    /// What its bytes are.
    pub format: ImageFormat,
    /// How many there are.
    pub bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}
