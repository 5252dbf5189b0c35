//! How the URL of a Cluster is read.

/// The URLs of the nodes that the URL of a Cluster names (`redis-cluster://user:password@a:6379,b:6379`;
/// `rediss-cluster` for TLS), each as that of a single Redis; `None` for any other URL. Those that are
/// named are where the others are asked for: one that answers is enough.
#[must_use]
pub fn nodes_of_cluster(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "redis-cluster" => "redis",
        "rediss-cluster" => "rediss",
        _ => return None,
    };
    // A Cluster has no other database.
    let rest = rest.strip_suffix("/0").or_else(|| rest.strip_suffix('/')).unwrap_or(rest);
    let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    Some(hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_cluster_names_nodes() {
        for (url, expected) in [
            ("redis-cluster://a:6379,b:6380", &["redis://a:6379", "redis://b:6380"][..]),
            ("redis-cluster://h/", &["redis://h"]),
            ("rediss-cluster://me:p%40s@[::1]:1,h/0", &["rediss://me:p%40s@[::1]:1", "rediss://me:p%40s@h"]),
        ] {
            assert_eq!(nodes_of_cluster(url).unwrap(), expected, "{url}");
        }
        for other in ["redis://a:6379", "rediss://a", "sqlite:x", ""] {
            assert_eq!(nodes_of_cluster(other), None, "{other}");
        }
    }
}
