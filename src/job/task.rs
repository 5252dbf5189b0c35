//! What a job keeps of its task between two steps.

use serde::{Deserialize, Serialize};

use super::desk::Provider;
use crate::provider::{Media, Reference, Task};
use crate::store::{JobRow, StoreError};

/// The stored form. A newer binary may write more; what it does not know, an older one leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredTask {
    #[serde(default)]
    pub(super) media: StoredMedia,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) conversation: Option<String>,
}

/// Where what is to be transcribed is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredMedia {
    /// At the provider.
    #[default]
    OfTheCall,
    /// At this URL.
    Recording(String),
    /// Here.
    Text(String),
}

impl StoredTask {
    pub(super) fn read(job: &JobRow) -> Result<Self, StoreError> {
        serde_json::from_slice(&job.job.standing.task)
            .map_err(|error| StoreError::Corrupt { what: "job", reason: error.to_string() })
    }

    /// What is handed over.
    pub(super) fn media(&self) -> Media {
        match &self.media {
            StoredMedia::OfTheCall => Media::OfTheCall,
            StoredMedia::Recording(url) => Media::Recording(url.clone()),
            StoredMedia::Text(text) => Media::Text(text.clone()),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts are JSON")
    }

    /// The task as the provider's side sees it, with the media where they are now.
    pub(super) fn task(&self, job: &JobRow, media: Media, provider: &Provider) -> Task {
        Task {
            call: job.job.call.id.as_str().to_owned(),
            base_url: provider.base_url.clone(),
            media,
            language: self.language.clone(),
            webhook_url: provider.webhook_url.clone(),
            reference: Reference {
                job: job.job.standing.provider_job.clone(),
                conversation: self.conversation.clone(),
            },
        }
    }
}
