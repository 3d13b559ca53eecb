//! Root's rights: all given up but one. Other users have none to give up.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// To open files whoever owns them, as the node itself may. Which files: that is for the other layers.
const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// Gives up everything else, now and for programs started later.
/// # Errors
/// What the system said.
pub(super) fn drop_all_but_files() -> rustix::io::Result<()> {
    let held = capabilities(None)?;
    if held.permitted.contains(CapabilitySet::SETPCAP) {
        for bit in (0..64).map(|n| CapabilitySet::from_bits_retain(1 << n)) {
            if bit == KEPT {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(bit) {
                // Beyond the last one the kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                done => done?,
            }
        }
    }
    let kept = held.permitted & KEPT;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
