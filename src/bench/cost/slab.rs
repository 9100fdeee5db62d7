//! ▢ `/proc/slabinfo` (slabinfo(5)), with the caches that the kernel has merged.
//!
//! SLUB puts caches of one size and one set of flags together, and slabinfo has them under the
//! name of the one that was first. `/sys/kernel/slab` still has a link for every name, and
//! those of one cache lead to the same directory (kernel: `Documentation/admin-guide/mm/slab.rst`).

use std::collections::HashMap;

/// What a line of slabinfo begins with: name, active and all objects, their size, objects and
/// pages of a slab.
const FIELDS: usize = 6;

/// One cache of objects.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cache {
    /// Objects in use.
    pub objects: u64,
    /// Bytes of one, with its share of what is left over in its slab: a slab of 8 pages has 13
    /// objects of 2,368 bytes, and each costs the machine 2,521.
    pub object_bytes: f64,
}

/// Which names are the same cache.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aliases(HashMap<String, Vec<String>>);

impl FromIterator<(String, String)> for Aliases {
    /// Of name and target of each link in `/sys/kernel/slab`.
    fn from_iter<T: IntoIterator<Item = (String, String)>>(links: T) -> Self {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for (name, target) in links {
            names.entry(target).or_default().push(name);
        }
        let groups = names.into_values();
        Self(
            groups
                .flat_map(|group| group.clone().into_iter().map(move |n| (n, group.clone())))
                .collect(),
        )
    }
}

impl Aliases {
    /// Every name of the cache that has this one.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.0.get(name).into_iter().flatten().map(String::as_str);
        others.chain([name])
    }
}

/// All caches, by each of their names.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Slabs(HashMap<String, Cache>);

impl Slabs {
    /// Reads the text of slabinfo, of a machine with pages of so many bytes.
    ///
    /// # Errors
    /// The first line that is none of version 2.
    pub fn parse(text: &str, page_bytes: u64, aliases: &Aliases) -> Result<Self, String> {
        let mut lines = text.lines();
        let version = lines.next().unwrap_or_default();
        if !version.starts_with("slabinfo - version: 2") {
            return Err(format!("not slabinfo 2: {version:?}"));
        }
        let mut caches = HashMap::new();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let (name, cache) =
                cache(line, page_bytes).ok_or_else(|| format!("not of slabinfo: {line:?}"))?;
            caches.extend(aliases.of(name).map(|name| (name.to_owned(), cache)));
        }
        Ok(Self(caches))
    }

    /// The cache of that name, its own or a merged one; `None` where there is none.
    pub fn get(&self, name: &str) -> Option<Cache> {
        self.0.get(name).copied()
    }
}

fn cache(line: &str, page_bytes: u64) -> Option<(&str, Cache)> {
    let mut fields = line.split_whitespace();
    let name = fields.next()?;
    let numbers: Vec<u64> = fields.take(FIELDS - 1).map_while(|n| n.parse().ok()).collect();
    let [objects, _, _, per_slab, pages] = numbers[..] else { return None };
    let slab_bytes = pages.checked_mul(page_bytes)? as f64;
    (per_slab > 0).then(|| (name, Cache { objects, object_bytes: slab_bytes / per_slab as f64 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
io_kiocb             208    272    256   16    1 : tunables    0    0    0 : slabdata     17     17      0
TCP                  118    169   2368   13    8 : tunables    0    0    0 : slabdata     13     13      0
ep_head             1030   2304     16  256    1 : tunables    0    0    0 : slabdata      9      9      0
anon_vma_chain       533   1024     64   64    1 : tunables    0    0    0 : slabdata     16     16      0
sock_inode_cache     243    304    832   19    4 : tunables    0    0    0 : slabdata     16     16      0
";

    fn aliases(links: &[(&str, &str)]) -> Aliases {
        links.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn caches_are_read_with_their_share_of_a_slab() {
        let slabs = Slabs::parse(TEXT, 4096, &Aliases::default()).unwrap();
        assert_eq!(slabs.get("io_kiocb"), Some(Cache { objects: 208, object_bytes: 256.0 }));
        let tcp = slabs.get("TCP").unwrap();
        assert_eq!((tcp.objects, tcp.object_bytes.round()), (118, 2521.0));
        assert_eq!(slabs.get("sock_inode_cache").unwrap().object_bytes.round(), 862.0);
        assert_eq!(slabs.get("eventpoll_pwq"), None);
    }

    #[test]
    fn a_merged_cache_is_found_by_each_of_its_names() {
        let links = [
            ("eventpoll_pwq", ":A-0000064"),
            ("anon_vma_chain", ":A-0000064"),
            ("fs_cache", ":A-0000064"),
            ("ep_head", ":A-0000016"),
            ("lsm_file_cache", ":0000024"),
        ];
        let slabs = Slabs::parse(TEXT, 4096, &aliases(&links)).unwrap();
        let merged = Some(Cache { objects: 533, object_bytes: 64.0 });
        for name in ["eventpoll_pwq", "anon_vma_chain", "fs_cache"] {
            assert_eq!(slabs.get(name), merged, "{name}");
        }
        assert_eq!(slabs.get("lsm_file_cache"), None, "in no line");
        assert_eq!(slabs.get("ep_head").unwrap().objects, 1030);
    }

    #[test]
    fn what_is_no_slabinfo_is_an_error() {
        let none = Aliases::default();
        for text in ["", "slabinfo - version: 1.1\n", "Permission denied"] {
            assert!(Slabs::parse(text, 4096, &none).is_err(), "{text:?}");
        }
        for line in
            ["TCP", "TCP 1 2 3 0 8", "TCP 1 2 x 13 8", "", "TCP 1 2 3 13 99999999999999999999"]
        {
            let text = format!("slabinfo - version: 2.1\n{line}\n");
            assert!(Slabs::parse(&text, 4096, &none).unwrap_err().contains(line), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(slabinfo - version: 2.1\n)?([a-z_]{1,5}( [0-9]{1,20}){0,7}\n){0,4}") {
            if let Ok(slabs) = Slabs::parse(&text, 1 << 16, &Aliases::default()) {
                prop_assert!(slabs.0.values().all(|cache| cache.object_bytes.is_finite()));
            }
        }
    }
}
