//! seccomp: a deny list of calls that no encoder needs and that reach around the other layers.

use super::Error;
use crate::Layer;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;
use std::io;

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Refused with EPERM, whatever the arguments.
const DENIED: &[libc::c_long] = &[
    // Sockets of every family: what no network namespace closes, Unix sockets above all.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Rings carry other calls past this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes. Their signals: see below.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_kill,
    // Out of the group that is killed.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Other views of the system.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_personality,
    // Files: an old Landlock does not control it.
    libc::SYS_truncate,
];

/// Calls whose arguments lie in memory, where no filter sees them. The C library knows how to do without.
const UNKNOWN: &[libc::c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

/// Closes the calling process. `alone`: it is in a PID namespace, where its signals reach nobody else.
/// # Errors
/// [`Error::Layer`]
pub(super) fn close(alone: bool) -> Result<(), Error> {
    let refused = |e: &dyn std::fmt::Display| {
        Error::layer(
            Layer::Seccomp,
            "the kernel does not take the filter",
            io::Error::other(e.to_string()),
        )
    };
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| refused(&e))?;
    let compile = |rules: Rules, errno: i32| -> Result<BpfProgram, _> {
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        filter.try_into()
    };
    let rules = rules(alone).map_err(|e| refused(&e))?;
    let unknown = UNKNOWN.iter().map(|call| (*call, vec![])).collect();
    let filters = [
        compile(unknown, libc::ENOSYS).map_err(|e| refused(&e))?,
        compile(rules, libc::EPERM).map_err(|e| refused(&e))?,
        other_numbers(),
    ];
    for filter in filters.iter().filter(|filter| !filter.is_empty()) {
        apply_filter(filter).map_err(|e| refused(&e))?;
    }
    Ok(())
}

fn rules(alone: bool) -> Result<Rules, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let when = |argument, length, compare, value| {
        let condition = SeccompCondition::new(argument, length, compare, value)?;
        SeccompRule::new(vec![condition])
    };
    let mut rules: Rules = DENIED.iter().map(|call| (*call, vec![])).collect();
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD as u64;
    let process = when(0, Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![process]);
    // A signal for itself is how a program aborts.
    let own = u64::from(
        rustix::process::getpid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs(),
    );
    let other = when(0, Dword, SeccompCmpOp::Ne, own)?;
    rules.insert(libc::SYS_tgkill, vec![other]);
    if !alone {
        rules.insert(libc::SYS_tkill, vec![]);
    }
    // Opening for reading may truncate, which an old Landlock takes for reading.
    let bits = (libc::O_TRUNC | libc::O_ACCMODE) as u64;
    let truncating = |argument| {
        let value = (libc::O_TRUNC | libc::O_RDONLY) as u64;
        when(argument, Dword, SeccompCmpOp::MaskedEq(bits), value)
    };
    rules.insert(libc::SYS_openat, vec![truncating(2)?]);
    #[cfg(target_arch = "x86_64")]
    {
        rules.insert(libc::SYS_open, vec![truncating(1)?]);
        rules.insert(libc::SYS_fork, vec![]);
        rules.insert(libc::SYS_vfork, vec![]);
    }
    Ok(rules)
}

/// x86-64 has a second set of numbers for the same calls (x32), which the filters above would let pass.
fn other_numbers() -> BpfProgram {
    #[cfg(not(target_arch = "x86_64"))]
    return Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        const FIRST: u32 = 0x4000_0000;
        let step = |code: u32, jt, jf, k| sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        vec![
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, FIRST),
            step(
                libc::BPF_RET | libc::BPF_K,
                0,
                0,
                libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
            ),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]
    }
}
