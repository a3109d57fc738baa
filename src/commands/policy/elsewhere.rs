//! What the names in a policy mean where it is written for another machine.

use std::cell::RefCell;
use std::collections::HashMap;

use hsci_language::names::{Names, OptionFault, OptionScope};

use crate::extension_program;

/// Users and groups get ids that no machine gives out, from here on.
const FIRST: u32 = 0xF000_0000;

/// Every user, group, executable and extension is there. One name is one user; root is 0.
#[derive(Default)]
pub(super) struct AnyNames(RefCell<HashMap<String, u32>>);

impl AnyNames {
    fn id(&self, name: &str) -> u32 {
        if name == "root" {
            return 0;
        }
        let mut known = self.0.borrow_mut();
        let next = FIRST + known.len() as u32;
        *known.entry(name.to_owned()).or_insert(next)
    }
}

impl Names for AnyNames {
    fn user(&self, name: &str) -> Option<u32> {
        Some(self.id(name))
    }

    fn group(&self, name: &str) -> Option<u32> {
        Some(self.id(name))
    }

    fn executable(&self, _: &[u8]) -> bool {
        true
    }

    fn extension(&self, _: &str) -> bool {
        true
    }

    fn option(&self, _: &str, _: &str, _: &str, _: OptionScope) -> Result<(), OptionFault> {
        Ok(())
    }

    fn users(&self) -> Vec<String> {
        Vec::new()
    }

    fn groups(&self) -> Vec<String> {
        Vec::new()
    }

    fn extensions(&self) -> Vec<String> {
        extension_program::names().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_user_and_no_other() {
        let names = AnyNames::default();
        assert_eq!((names.user("root"), names.user("alice")), (Some(0), names.user("alice")));
        assert_ne!(names.user("alice"), names.user("bob"));
    }
}
