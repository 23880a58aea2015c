//! From a list of refused calls to the program that the kernel reads.

use super::lists::{FREE, HIGHEST};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, sock_filter,
};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::ops::RangeInclusive;

/// Calls that are refused, by their answer. All others are allowed. The last rule about a call counts.
#[derive(Default)]
pub struct DenyList(BTreeMap<i32, BTreeMap<c_long, Vec<Rule>>>);

impl DenyList {
    /// These calls answer "not permitted".
    pub fn refuse(&mut self, calls: &[c_long]) {
        self.answer(libc::EPERM, calls);
    }

    /// This call answers "not permitted" when one of the rules holds.
    pub fn refuse_when(&mut self, call: c_long, rules: Vec<Rule>) {
        self.answer_when(libc::EPERM, call, rules);
    }

    /// These calls answer this error.
    pub fn answer(&mut self, errno: i32, calls: &[c_long]) {
        for call in calls {
            self.answer_when(errno, *call, vec![]);
        }
    }

    /// This call answers this error when one of the rules holds, or always when there is none.
    pub fn answer_when(&mut self, errno: i32, call: c_long, rules: Vec<Rule>) {
        self.allow(call);
        self.0.entry(errno).or_default().insert(call, rules);
    }

    /// This call answers "not permitted" also when one of these rules holds.
    pub fn refuse_also(&mut self, call: c_long, rules: Vec<Rule>) {
        self.answer_also(libc::EPERM, call, rules);
    }

    /// This call answers this error also when one of these rules holds. Of two errors it answers the higher one.
    pub fn answer_also(&mut self, errno: i32, call: c_long, rules: Vec<Rule>) {
        let held = self.0.entry(errno).or_default().entry(call);
        // A call without rules is answered so always.
        held.and_modify(|held| {
            if !held.is_empty() {
                held.extend(rules.clone())
            }
        })
        .or_insert(rules);
    }

    /// This call is made as it is.
    pub fn allow(&mut self, call: c_long) {
        for rules in self.0.values_mut() {
            rules.remove(&call);
        }
    }

    /// One program for each answer, and one for the calls that the lists do not know.
    pub fn programs(self) -> Result<Vec<BpfProgram>> {
        let lists = self.0.into_iter().filter(|(_, rules)| !rules.is_empty());
        let programs = lists.map(|(errno, rules)| program(rules, SeccompAction::Allow, answer(errno)));
        programs.chain([Ok(unknown())]).collect()
    }
}

/// Calls that are allowed. All others answer "not implemented", as on a kernel that does not have them: a newer C
/// library falls back from that.
#[derive(Default)]
pub struct AllowList(BTreeMap<c_long, Vec<Rule>>);

impl AllowList {
    /// Allows these calls, whatever their arguments.
    pub fn allow(&mut self, calls: &[c_long]) {
        self.0.extend(calls.iter().map(|call| (*call, vec![])));
    }

    /// Allows this call when one of the rules holds.
    pub fn allow_when(&mut self, call: c_long, rules: Vec<Rule>) {
        self.0.insert(call, rules);
    }

    /// The list as a program of the kernel's.
    pub fn program(self) -> Result<BpfProgram> {
        program(self.0, answer(libc::ENOSYS), SeccompAction::Allow)
    }
}

fn answer(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

fn program(
    rules: BTreeMap<c_long, Vec<Rule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(Error::other)?;
    let filter = SeccompFilter::new(rules, others, these, arch).map_err(Error::other)?;
    filter.try_into().map_err(Error::other)
}

/// Answers "not implemented" to every number that the lists do not know. On x86-64 this includes the second table
/// (x32), whose numbers have a high bit set.
fn unknown() -> BpfProgram {
    use libc::{BPF_ABS, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let step = |code: u32, k: u32, jt: u8, jf: u8| sock_filter { code: code as u16, jt, jf, k };
    let number = 0; // where the kernel puts it
    vec![
        step(BPF_LD | BPF_W | BPF_ABS, number, 0, 0),
        step(BPF_JMP | BPF_JGT | BPF_K, HIGHEST, 3, 0),
        step(BPF_JMP | BPF_JGT | BPF_K, *FREE.end(), 1, 0),
        step(BPF_JMP | BPF_JGE | BPF_K, *FREE.start(), 1, 0),
        step(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(), 0, 0),
    ]
}

/// The bytes of a program as the kernel reads them.
pub fn bytes(program: &BpfProgram) -> Vec<u8> {
    let words = program.iter().flat_map(|step| {
        let [a, b] = step.code.to_ne_bytes();
        [[a, b, step.jt, step.jf], step.k.to_ne_bytes()].concat()
    });
    words.collect()
}

/// A rule that holds when the lower 32 bits of this argument compare so with `value`. The kernel looks at no more of a
/// number or of flags.
pub fn when(argument: u8, op: Op, value: u64) -> Result<Rule> {
    when_all(&[(argument, op, value)])
}

/// A rule that holds when all of these hold.
pub fn when_all(conditions: &[(u8, Op, u64)]) -> Result<Rule> {
    let condition =
        |(argument, op, value): &(u8, Op, u64)| Condition::new(*argument, Len::Dword, op.clone(), *value);
    let all: std::result::Result<Vec<_>, _> = conditions.iter().map(condition).collect();
    all.and_then(Rule::new).map_err(Error::other)
}

/// Rules that hold when an argument is one of these values.
pub fn one_of(argument: u8, values: &[i32]) -> Result<Vec<Rule>> {
    values.iter().map(|value| when(argument, Op::Eq, u64::from(value.cast_unsigned()))).collect()
}

/// A rule that holds when an argument has this value, and another one is a pointer that is not null.
pub fn when_with_pointer(argument: u8, value: u64, pointer: u8) -> Result<Rule> {
    let is_value = Condition::new(argument, Len::Dword, Op::Eq, value);
    // All 64 bits: an address may end in zeros.
    let leads_anywhere = Condition::new(pointer, Len::Qword, Op::Ne, 0);
    let both = is_value.and_then(|value| leads_anywhere.map(|pointer| vec![value, pointer]));
    both.and_then(Rule::new).map_err(Error::other)
}

/// Rules that hold when one of these bits of an argument is set.
pub fn any_bit(argument: u8, bits: u32) -> Result<Vec<Rule>> {
    let each = (0..u32::BITS).map(|number| 1 << number).filter(|bit| bits & bit != 0);
    each.map(|bit: u32| when(argument, Op::MaskedEq(u64::from(bit)), u64::from(bit))).collect()
}

/// The range of one value, for [`unless`].
pub fn only(value: i32) -> RangeInclusive<u32> {
    value.cast_unsigned()..=value.cast_unsigned()
}

/// Rules that hold unless an argument lies in one of these ranges: one for each gap between them.
pub fn unless(argument: u8, allowed: impl IntoIterator<Item = RangeInclusive<u32>>) -> Result<Vec<Rule>> {
    let mut allowed: Vec<_> = allowed.into_iter().collect();
    allowed.sort_by_key(|range| *range.start());
    let (mut rules, mut from) = (Vec::new(), Some(0));
    for range in allowed {
        let before = from.zip(range.start().checked_sub(1)).filter(|(from, to)| from <= to);
        rules.extend(before.map(|(from, to)| within(argument, from, to)));
        from = range.end().checked_add(1);
    }
    rules.extend(from.map(|from| within(argument, from, u32::MAX)));
    rules.into_iter().collect()
}

fn within(argument: u8, from: u32, to: u32) -> Result<Rule> {
    when_all(&[(argument, Op::Ge, from.into()), (argument, Op::Le, to.into())])
}
