#![cfg_attr(all(feature = "calendar", feature = "calculator"), doc = include_str!("../README.md"))]
#![warn(missing_docs)]

#[cfg(feature = "calculator")]
mod arithmetic;
#[cfg(feature = "calendar")]
mod dates;
#[cfg(feature = "drive")]
mod drive;
#[cfg(feature = "images")]
mod images;
#[cfg(feature = "mail")]
mod mail;
#[cfg(feature = "pages")]
mod pages;

#[cfg(feature = "calculator")]
pub use arithmetic::calculator;
#[cfg(feature = "calendar")]
pub use dates::calendar;
#[cfg(feature = "drive")]
pub use drive::{Drive, DriveError, DriveFile, DriveSettings, DriveTokens, Pending};
#[cfg(feature = "images")]
pub use images::{Gallery, GenerateImage, ImageApi, ImageModel, Picture};
#[cfg(feature = "mail")]
pub use mail::{MailAccount, MailSecurity, SendEmail};
#[cfg(feature = "pages")]
pub use pages::pages;
