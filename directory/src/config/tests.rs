use super::*;

fn sentinel(master: &str, urls: &[&str]) -> RedisConfig {
    RedisConfig {
        sentinel: Some(SentinelConfig {
            master: master.to_owned(),
            urls: urls.iter().copied().map(SecretText::new).collect(),
            ..SentinelConfig::default()
        }),
        ..RedisConfig::default()
    }
}

fn cluster(urls: &[&str]) -> RedisConfig {
    RedisConfig {
        cluster: urls.iter().copied().map(SecretText::new).collect(),
        ..RedisConfig::default()
    }
}

fn mistake(config: &RedisConfig) -> String {
    config.validate().unwrap_err().to_string()
}

#[test]
fn the_three_ways_exclude_each_other() {
    assert_eq!(RedisConfig::at("redis://127.0.0.1").validate(), Ok(()));
    assert_eq!(
        sentinel("mymaster", &["redis://a:26379", "redis://b:26379"]).validate(),
        Ok(())
    );
    assert_eq!(cluster(&["redis://a", "redis://b"]).validate(), Ok(()));

    assert_eq!(
        RedisConfig::default().validate(),
        Err(ConfigError::NoAddress)
    );
    let both = RedisConfig {
        url: Some(SecretText::new("redis://a")),
        ..cluster(&["redis://b"])
    };
    assert_eq!(both.validate(), Err(ConfigError::ManyAddresses));
}

#[test]
fn urls_are_taken_apart() {
    let target = RedisConfig::at("rediss://us%40er:p%23w@[::1]:7000/3")
        .target()
        .unwrap();
    let master = target.master;
    assert_eq!((master.host.as_str(), master.port), ("::1", 7000));
    assert_eq!(master.to_string(), "[::1]:7000");
    assert!(master.tls);
    assert_eq!(master.user.as_deref(), Some("us@er"));
    assert_eq!(master.password, Some(SecretText::new("p#w")));
    assert_eq!(master.db, 3);
}

#[test]
fn a_wrong_url_is_explained_without_showing_it() {
    let wrong = [
        "hidden-word@host",
        "http://user:hidden-word@host",
        "redis://user:hidden-word#x@host",
        "redis://user:hidden-word@host/hidden-word",
        "redis://user:hidden-word@",
        "redis://user:hidden-word@0.0.0.0:1",
        "redis://user:hidden-word@host:hidden-word",
        "unix:///hidden-word",
        "redis://hidden-word@host",
    ];
    for url in wrong {
        let text = mistake(&RedisConfig::at(url));
        assert!(!text.contains("hidden-word"), "{url}: {text}");
        assert!(
            text.contains("`url`") || text.contains("password"),
            "{text}"
        );
    }
}

#[test]
fn a_sentinel_setup_keeps_its_two_logins_apart() {
    let mut config = sentinel("mymaster", &["redis://watch:one@a:26379"]);
    if let Some(sentinel) = &mut config.sentinel {
        sentinel.username = Some("anteroom".to_owned());
        sentinel.password = Some(SecretText::new("two"));
        sentinel.db = 2;
    }
    let target = config.target().unwrap();
    let Route::Sentinel { name, sentinels } = &target.route else {
        panic!("{target:?}");
    };
    assert_eq!(name, "mymaster");
    assert_eq!(sentinels[0].user.as_deref(), Some("watch"));
    let master = target.master_at("10.0.0.1".to_owned(), 6379);
    assert_eq!(master.user.as_deref(), Some("anteroom"));
    assert_eq!(master.password, Some(SecretText::new("two")));
    assert_eq!(master.db, 2);
}

#[test]
fn a_sentinel_section_must_be_whole() {
    assert_eq!(
        sentinel("", &["redis://a"]).validate(),
        Err(ConfigError::NoMaster)
    );
    assert_eq!(sentinel("m", &[]).validate(), Err(ConfigError::NoSentinels));
    assert_eq!(
        sentinel("m", &["redis://a/1"]).validate(),
        Err(ConfigError::SentinelDatabase)
    );
    assert!(mistake(&sentinel("m", &["redis://a", "rediss://b"])).contains("mixes"));
    assert!(mistake(&sentinel("m", &["redis://a"; 17])).contains("more than 16"));
}

#[test]
fn the_nodes_of_a_cluster_have_one_login_and_no_databases() {
    assert_eq!(
        cluster(&["redis://a/1"]).validate(),
        Err(ConfigError::ClusterDatabase)
    );
    assert_eq!(
        cluster(&["redis://:x@a", "redis://:y@b"]).validate(),
        Err(ConfigError::ClusterLogins)
    );
}

#[test]
fn a_prefix_cannot_break_the_hash_tag() {
    for prefix in ["", "a}b", "a{b", "a b", "ä", &"x".repeat(65)] {
        let config = RedisConfig {
            prefix: prefix.to_owned(),
            ..RedisConfig::at("redis://a")
        };
        assert!(mistake(&config).contains("`prefix`"), "{prefix}");
    }
}

#[test]
fn numbers_have_to_fit_the_lease() {
    let with = |change: fn(&mut RedisConfig)| {
        let mut config = RedisConfig::at("redis://a");
        change(&mut config);
        mistake(&config)
    };
    assert!(with(|config| config.call_timeout_ms = 5_000).contains("`call_timeout_ms` is 5000"));
    assert!(with(|config| config.connect_timeout_ms = 0).contains("`connect_timeout_ms` is 0"));
    assert!(with(|config| config.replicas = 9).contains("`replicas` is 9"));
    assert!(with(|config| config.replicas_timeout_ms = 0).contains("`replicas_timeout_ms` is 0"));
    assert!(with(|config| config.replicas_timeout_ms = 800).contains("call_timeout_ms (800)"));
}

#[test]
fn certificates_need_tls_and_their_keys() {
    let mut config = RedisConfig::at("redis://a");
    config.tls.ca = Some("ca.pem".into());
    assert_eq!(config.validate(), Err(ConfigError::CertificatesWithoutTls));
    let mut config = RedisConfig::at("rediss://a");
    config.tls.cert = Some("cert.pem".into());
    assert_eq!(config.validate(), Err(ConfigError::HalfClientCertificate));
}

#[test]
fn a_file_with_unknown_names_is_refused_and_secrets_are_shown_to_nobody() {
    let text = r#"{"url": "redis://user:hidden-word@a", "replica": 1}"#;
    assert!(serde_json::from_str::<RedisConfig>(text).is_err());
    let text = r#"{
        "url": "redis://user:hidden-word@a",
        "sentinel": {"master": "m", "urls": ["redis://:hidden-word@b"], "password": "hidden-word"}
    }"#;
    let config: RedisConfig = serde_json::from_str(text).unwrap();
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("hidden-word"), "{shown}");
    let target = format!("{:?}", sentinel("m", &["redis://:hidden-word@b"]).target());
    assert!(!target.contains("hidden-word"), "{target}");
}
