//! Webhooks over the HTTP API of a whole engine, and webhooks over TLS.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use api::port::Webhooks;
use cartulary::cli::Bearer;
use domain::shared::{Principal, Role};
use lab::harness::{
    Backend, Engine, HttpRequest, HttpResponse, Receiver, database, eventually, loopback_guard, place_orders,
};
use outside::webhooks::HttpClient;
use platform::clock::new_id;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_rustls::TlsAcceptor;

use lab::harness::victim::WEBHOOK_LIMITS;

use crate::webhooks::{subscribe, verified};

async fn get(engine: &Engine, token: &str, path: &str) -> Result<HttpResponse> {
    let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    engine.send(&HttpRequest { method: "GET".into(), path: path.into(), headers, ..HttpRequest::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_disclosure_is_logged_and_large_events_are_fetched() -> Result<()> {
    let (engine, receiver) = (Engine::start().await?, Receiver::open().await?);
    let tenant = engine.tenant().await?.0;
    let bearer = Bearer::of(tenant, Role::Owner);
    let (owner, subscription) = (engine.token(&bearer)?, new_id());
    let body = json!({ "subscription": subscription, "url": receiver.url(), "events": ["product.created"], "description": null });
    engine.execute(&owner, "Subscribe", &body).await?;

    let path = format!("/v1/webhooks/{subscription}/secret");
    let seen = get(&engine, &owner, &path).await?;
    ensure!(seen.status == 200, "{}", seen.json());
    let shown: Value = seen.json()["secrets"][0].clone();
    let text = "SELECT meta->'actor' FROM log.events WHERE tenant = $1 AND type = 'webhook.secret_shown'";
    let actors: Vec<Value> = sqlx::query_scalar(text).bind(tenant.uuid()).fetch_all(engine.pool()).await?;
    let subject: Principal = bearer.subject;
    assert_eq!(actors, [json!({ "member": subject })]);
    // No table contains the secret.
    let secret = shown["secret"].as_str().context("a secret")?.trim_start_matches("whsec_").to_owned();
    assert_eq!(tables_with(engine.pool(), &secret).await?, Vec::<String>::new());
    assert!(tables_with(engine.pool(), &subscription.to_string()).await?.contains(&"log.events".to_owned()));

    let description = "🦀".repeat(5_000);
    let product = json!({
        "product": new_id(), "name": "Mug", "sku": "MUG-1", "price": { "minor": 900, "currency": "USD" },
        "description": description,
    });
    engine.execute(&owner, "CreateProduct", &product).await?;
    eventually("it arrives", async || Ok(receiver.accepted_positions().len() == 1)).await?;
    let message = receiver.received().remove(0);
    let sent = message.json();
    assert_eq!((&sent["type"], &sent["data"]), (&json!("product.created"), &Value::Null));
    assert_eq!(verified(&message, &shown), [true, true]);
    let fetched = get(&engine, &owner, sent["fetch"].as_str().context("the path of the whole event")?).await?.json();
    assert_eq!((&fetched["id"], &fetched["data"]["description"]), (&sent["id"], &json!(description)));
    // Another tenant has its own events at these positions, and none of ours.
    let rival = engine.tenant().await?.0;
    let rival = engine.token(&Bearer::of(rival, Role::Owner))?;
    let theirs = get(&engine, &rival, &format!("/v1/events/{}", message.position())).await?;
    ensure!(theirs.status == 404 || theirs.json()["id"] != sent["id"], "{}", theirs.json());
    let deliveries = get(&engine, &rival, &format!("/v1/webhooks/{subscription}/deliveries")).await?;
    assert_eq!((deliveries.status, &deliveries.json()["deliveries"]), (200, &json!([])));
    engine.close().await;
    Ok(())
}

/// Tables of the database with a row that contains a text.
async fn tables_with(pool: &PgPool, text: &str) -> Result<Vec<String>> {
    let tables = "SELECT schemaname || '.' || tablename FROM pg_tables
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await?;
    let mut found = Vec::new();
    for table in tables {
        let stands = format!("SELECT EXISTS (SELECT FROM {table} AS t WHERE position($1 IN t::text) > 0)");
        if sqlx::query_scalar(&stands).bind(text).fetch_one(pool).await? {
            found.push(table);
        }
    }
    Ok(found)
}

/// An acceptor with a certificate for this machine, made by openssl, and the roots that trust it.
fn certificate() -> Result<(TlsAcceptor, RootCertStore)> {
    let folder = std::env::temp_dir().join(format!("cartulary-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem \
                  -days 2 -subj /CN=receiver -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("sh").args(["-c", script]).current_dir(&folder).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    std::fs::remove_dir_all(&folder)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), roots))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_over_tls_needs_a_trusted_certificate_for_the_name() -> Result<()> {
    let ((acceptor, roots), (stranger, _)) = (certificate()?, certificate()?);
    let (url, receiver) = (database().await, Receiver::open_at("127.0.0.1", Some(acceptor.clone())).await?);
    // `other` has the trusted certificate at another address; the certificate of `stranger` is not trusted.
    let other = Receiver::open_at("127.0.0.2", Some(acceptor)).await?;
    let stranger = Receiver::open_at("127.0.0.1", Some(stranger)).await?;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(10).await?;
    let client = HttpClient::trusting(Arc::new(loopback_guard()?), roots)?;
    let webhooks = backend.run_webhooks_over(WEBHOOK_LIMITS, Some(client))?;
    let over_tls = |receiver: &Receiver| format!("https://{}/", receiver.address);
    subscribe(&backend, &shop, &over_tls(&receiver), &["order.placed"]).await?;
    let refused = [
        subscribe(&backend, &shop, &over_tls(&other), &["order.placed"]).await?,
        subscribe(&backend, &shop, &over_tls(&stranger), &["order.placed"]).await?,
    ];
    place_orders(&backend, &shop, 2).await?;
    eventually("both arrive", async || Ok(receiver.accepted_positions().len() == 2)).await?;
    for subscription in refused {
        eventually("an attempt fails", async || {
            Ok(!webhooks.deliveries(shop.tenant, subscription, None, 1).await?.is_empty())
        })
        .await?;
        let made = webhooks.deliveries(shop.tenant, subscription, None, 1).await?;
        let trouble = "no TLS connection could be made with a trusted certificate for this name";
        assert_eq!((made[0].status, made[0].trouble.as_deref()), (None, Some(trouble)));
    }
    assert_eq!((receiver.accepted_positions().len(), other.received().len(), stranger.received().len()), (2, 0, 0));
    backend.close().await;
    Ok(())
}
