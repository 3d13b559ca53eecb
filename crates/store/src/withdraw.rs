//! Takes back what was published a moment ago, where it belongs with something that could not be.

use crate::error::Error;
use crate::local::blocking;
use crate::objects::Objects;
use crate::url::Location;

/// Removes a file that the caller has just published. Gone already is as good.
///
/// # Errors
/// As for any write; the file may still be there.
pub async fn withdraw(location: &Location) -> Result<(), Error> {
    match location {
        Location::File(path) => {
            let path = path.clone();
            blocking(move || match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", &path, e))
                }
                _ => Ok(()),
            })
            .await
        }
        Location::S3 { .. } | Location::Memory(_) => {
            let (objects, key) = Objects::open(location)?;
            objects.remove(&key).await
        }
        Location::Http(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_published_is_taken_back_and_gone_is_as_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        std::fs::write(&path, b"1").unwrap();
        for location in [
            Location::File(path.clone()),
            Location::Memory("withdraw/a.mp4".to_owned()),
        ] {
            withdraw(&location).await.unwrap();
            withdraw(&location).await.unwrap();
        }
        assert!(!path.exists());
    }
}
