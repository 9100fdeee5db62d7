//! What the admin port can publish into: the embedded broker, on the channels of the routes.

use super::Gateway;
use crate::{admin::Publishing, config::Config};

impl Gateway {
    pub(super) fn publishing(&self, config: &Config) -> Publishing {
        let route = |(path, route): (&str, &crate::config::TopicsRoute)| {
            (path.to_owned(), route.channel.clone())
        };
        Publishing {
            routes: config.topics_routes().map(route).collect(),
            port: self.worker_port(),
            message_bytes: self.message_bytes.clone(),
        }
    }
}
