//! The names of the keys. Those of a partition share the hash tag `{partition}`.

use std::sync::Arc;

/// The names of the keys of a namespace and a group.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    namespace: Arc<str>,
    group: Arc<str>,
}

impl Keys {
    pub(crate) fn new(namespace: &str, group: &str) -> Self {
        Self { namespace: namespace.into(), group: group.into() }
    }

    /// The same namespace, for another group.
    pub(crate) fn for_group(&self, group: &str) -> Self {
        Self { namespace: self.namespace.clone(), group: group.into() }
    }

    pub(crate) fn group_name(&self) -> &str {
        &self.group
    }

    pub(crate) fn meta(&self) -> String {
        format!("{}:meta", self.namespace)
    }

    /// A key that does not exist.
    pub(crate) fn meta_probe(&self) -> String {
        format!("{}:probe", self.namespace)
    }

    pub(crate) fn workers(&self) -> String {
        format!("{}:workers:{}", self.namespace, self.group)
    }

    pub(crate) fn publisher(&self, source: &str) -> String {
        format!("{}:publisher:{source}", self.namespace)
    }

    pub(crate) fn stream(&self, partition: u32) -> String {
        self.of(partition, "stream")
    }

    pub(crate) fn positions(&self, partition: u32) -> String {
        self.of(partition, "positions")
    }

    /// What the hard cap has cut, by group.
    pub(crate) fn cut(&self, partition: u32) -> String {
        self.of(partition, "cut")
    }

    pub(crate) fn group(&self, partition: u32) -> String {
        self.of_group(partition, "group")
    }

    pub(crate) fn lease(&self, partition: u32) -> String {
        self.of_group(partition, "lease")
    }

    pub(crate) fn done(&self, partition: u32) -> String {
        self.of_group(partition, "done")
    }

    pub(crate) fn attempts(&self, partition: u32) -> String {
        self.of_group(partition, "attempts")
    }

    pub(crate) fn dead(&self, partition: u32) -> String {
        self.of_group(partition, "dead")
    }

    fn of(&self, partition: u32, what: &str) -> String {
        format!("{}:{{{partition}}}:{what}", self.namespace)
    }

    fn of_group(&self, partition: u32, what: &str) -> String {
        format!("{}:{{{partition}}}:{what}:{}", self.namespace, self.group)
    }
}
