//! How a list of refused calls becomes what the kernel reads.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule,
};
use std::collections::BTreeMap;
use std::io::{Error, Result};

/// Calls that are refused, by what they answer. All others are allowed. What is said last about a call
/// counts.
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

    /// This call is made as it is.
    pub fn allow(&mut self, call: c_long) {
        for rules in self.0.values_mut() {
            rules.remove(&call);
        }
    }

    /// One program for each answer.
    pub fn programs(self) -> Result<Vec<BpfProgram>> {
        let lists = self.0.into_iter().filter(|(_, rules)| !rules.is_empty());
        let programs = lists.map(|(errno, rules)| {
            let refuse = SeccompAction::Errno(errno.cast_unsigned());
            program(rules, SeccompAction::Allow, refuse)
        });
        programs.collect()
    }
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

/// The bytes of a program as the kernel reads them.
pub fn bytes(program: &BpfProgram) -> Vec<u8> {
    let words = program.iter().flat_map(|step| {
        let [a, b] = step.code.to_ne_bytes();
        [[a, b, step.jt, step.jf], step.k.to_ne_bytes()].concat()
    });
    words.collect()
}

/// When the lower 32 bits of this argument, which are all that the kernel looks at of a number or flags,
/// compare so.
pub fn when(argument: u8, op: Op, value: u64) -> Result<Rule> {
    when_all(&[(argument, op, value)])
}

/// When all of these hold.
pub fn when_all(conditions: &[(u8, Op, u64)]) -> Result<Rule> {
    let condition =
        |(argument, op, value): &(u8, Op, u64)| Condition::new(*argument, Len::Dword, op.clone(), *value);
    let all: std::result::Result<Vec<_>, _> = conditions.iter().map(condition).collect();
    all.and_then(Rule::new).map_err(Error::other)
}

/// When one of these bits of an argument is set.
pub fn any_bit(argument: u8, bits: u32) -> Result<Vec<Rule>> {
    let each = (0..u32::BITS).map(|number| 1 << number).filter(|bit| bits & bit != 0);
    each.map(|bit: u32| when(argument, Op::MaskedEq(u64::from(bit)), u64::from(bit))).collect()
}
