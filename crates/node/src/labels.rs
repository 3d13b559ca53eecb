//! What a node says of its machine where its operator says nothing: the family of its processor or card, and the instance type that
//! the metadata service names. Jobs ask for both.

use crate::imds::{Metadata, Service};
use crate::leaving::spot::Lookout;
use crate::proof;
use recode_types::Machine;
use std::collections::BTreeMap;

/// The label of the family: intel, amd, arm, nvidia.
pub const COMPUTE: &str = "compute";

/// The label of the instance type.
pub const INSTANCE_TYPE: &str = "instance-type";

/// Adds what the machine shows to what was said. Asks the metadata service, if it is to be asked at all, for a second at most.
pub async fn complete(labels: &mut BTreeMap<String, String>, lookout: &Lookout) {
    if !labels.contains_key(COMPUTE)
        && let Some(family) = family(&proof::machine::look())
    {
        labels.insert(COMPUTE.to_owned(), family.to_owned());
    }
    if !labels.contains_key(INSTANCE_TYPE)
        && let Some(instance) = instance(&lookout.metadata).await
    {
        labels.insert(INSTANCE_TYPE.to_owned(), instance);
    }
}

/// What aws-batch-with-ffmpeg calls the family of a machine: that of its card, if it has one of NVIDIA's, else of its processor.
fn family(machine: &Machine) -> Option<&'static str> {
    let has = |text: &str, word: &str| text.to_ascii_lowercase().contains(word);
    if machine.cards.iter().any(|card| has(card, "nvidia")) {
        return Some("nvidia");
    }
    match machine.arch.as_str() {
        "aarch64" | "arm" => Some("arm"),
        _ if has(&machine.processor, "intel") => Some("intel"),
        _ if has(&machine.processor, "amd") => Some("amd"),
        _ => None,
    }
}

async fn instance(metadata: &Metadata) -> Option<String> {
    let mut service = Service::at(metadata.url()?).ok()?;
    service.detect().await.ok()?;
    let said = service.get("instance-type").await.ok()??;
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_testkit::metadata::Metadata as Stub;
    use std::time::Duration;

    #[test]
    fn a_family_is_that_of_the_card_or_of_the_processor() {
        let machine = |arch: &str, processor: &str, cards: &[&str]| Machine {
            arch: arch.to_owned(),
            processor: processor.to_owned(),
            cards: cards.iter().map(|card| (*card).to_owned()).collect(),
            ..Machine::default()
        };
        let xeon = "Intel(R) Xeon(R) Platinum 8488C";
        let vga = "renderD128 8086:46a6 i915";
        assert_eq!(family(&machine("x86_64", xeon, &[vga])), Some("intel"));
        assert_eq!(
            family(&machine("x86_64", "AMD EPYC 9R14", &[])),
            Some("amd")
        );
        assert_eq!(family(&machine("aarch64", "", &[])), Some("arm"));
        let card = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54";
        assert_eq!(family(&machine("x86_64", xeon, &[card])), Some("nvidia"));
        assert_eq!(
            family(&machine("x86_64", "Common KVM processor", &[])),
            None
        );
    }

    #[tokio::test]
    async fn the_instance_type_is_asked_for_unless_it_was_said() {
        let stub = Stub::start().unwrap();
        let lookout = Lookout {
            metadata: Metadata::At(stub.url()),
            every: Duration::from_secs(5),
        };
        let mut labels = BTreeMap::new();
        complete(&mut labels, &lookout).await;
        assert_eq!(labels[INSTANCE_TYPE], "c7i.large");
        let own = |key: &str| (key.to_owned(), "own".to_owned());
        let mut labels = BTreeMap::from([own(INSTANCE_TYPE), own(COMPUTE)]);
        complete(&mut labels, &lookout).await;
        assert_eq!(labels, [own(INSTANCE_TYPE), own(COMPUTE)].into());
    }
}
