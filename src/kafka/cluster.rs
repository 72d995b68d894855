//! What is known of the brokers: metadata, leaders, coordinators, and how to reach them again.
