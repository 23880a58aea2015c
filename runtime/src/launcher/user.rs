//! Which user the runners are when root started the runtime.

use vestibule_keeper::wire::User;

/// Without `sandbox_user`: a user that owns nothing, with the number that it has everywhere.
const NOBODY: &str = "nobody";
const NOBODY_ID: u32 = 65_534;

/// A user, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its numbers.
    pub user: User,
    /// Its name, or its number where it has none.
    pub name: String,
}

/// Finds the wanted user, by name or by number, in the text of `/etc/passwd`. A number that is not listed
/// is its own group. Pure.
///
/// # Errors
/// The name is not listed, or it is root's; what to write instead.
pub fn find(passwd: &str, wanted: Option<&str>) -> Result<Named, String> {
    let wanted_or_nobody = wanted.unwrap_or(NOBODY);
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (name == wanted_or_nobody || uid == wanted_or_nobody).then(|| Named { user, name: name.to_owned() })
    });
    let number = || match wanted {
        None => Some(NOBODY_ID),
        Some(text) => text.parse().ok(),
    };
    let by_number = || {
        let id = number()?;
        Some(Named { user: User { uid: id, gid: id }, name: id.to_string() })
    };
    let found = listed.or_else(by_number).ok_or_else(|| {
        format!(
            "`sandbox_user` names \"{wanted_or_nobody}\", which /etc/passwd does not list; make that user (useradd \
             --system), or name another one, or a number"
        )
    })?;
    if found.user.uid == 0 || found.user.gid == 0 {
        return Err(format!(
            "`sandbox_user` names \"{wanted_or_nobody}\", which is root or in its group; name a user of its own for agents"
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_runners_is_found_by_name_or_number_and_is_never_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n# broken\nagents:x:990:980::/:\n\
                      wheel:x:991:0::/:\n";
        let found = |uid, gid, name: &str| Ok(Named { user: User { uid, gid }, name: name.to_owned() });
        for (wanted, want) in [
            (None, found(65_534, 65_533, "nobody")),
            (Some("agents"), found(990, 980, "agents")),
            (Some("990"), found(990, 980, "agents")),
            (Some("4242"), found(4242, 4242, "4242")),
        ] {
            assert_eq!(find(passwd, wanted), want, "{wanted:?}");
        }
        assert_eq!(find("", None), found(65_534, 65_534, "65534"));
        for (wanted, word) in
            [("root", "root"), ("0", "root"), ("wheel", "group"), ("ghost", "ghost"), ("-1", "not list")]
        {
            let refused = find(passwd, Some(wanted)).unwrap_err();
            assert!(refused.contains("sandbox_user") && refused.contains(word), "{wanted}: {refused}");
        }
    }
}
