//! An address, as four columns of a row have it.

use rusqlite::Row;
use vestibule_plugin_api::Address;

/// The address in the four columns of a row from `first` on: channel type, account, chat, thread.
///
/// # Errors
/// The row has none there.
pub fn address_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Address> {
    Ok(Address {
        channel_type: row.get::<_, String>(first)?.into(),
        account: row.get::<_, String>(first + 1)?.into(),
        platform_id: row.get::<_, String>(first + 2)?.into(),
        thread_id: row.get::<_, Option<String>>(first + 3)?.map(Into::into),
    })
}
