//! The forms in which people write secrets, and the escapes that hide them.
//!
//! All tokens are invented and made when the test runs, so that no other scanner finds one in this file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::find_in_body;
use super::checks::Confidence;

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &str = "0123456789abcdef";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A random text; the same for the same seed.
fn random(alphabet: &str, length: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let letters: Vec<char> = alphabet.chars().collect();
    (0..8).map(|_| next()).for_each(|_| ());
    (0..length).map(|_| letters[next() % letters.len()]).collect()
}

fn certain(text: &[u8]) -> Vec<&'static str> {
    let found = find_in_body(text).into_iter();
    found
        .filter(|secret| secret.confidence == Confidence::Certain)
        .map(|secret| secret.kind)
        .collect()
}

/// A key of the Mistral API.
fn mistral_key(seed: u64) -> String {
    random(LETTERS, 32, seed)
}

#[test]
fn keys_of_the_mistral_api_are_found_in_every_form() {
    let forms = [
        r#"os.environ["MISTRAL_API_KEY"] = "@@""#,
        r#"os.environ['MISTRAL_API_KEY']='@@'"#,
        r#"os.getenv("MISTRAL_API_KEY", "@@")"#,
        r#"os.environ.get('MISTRAL_API_KEY', '@@')"#,
        r#"os.environ.setdefault("MISTRAL_API_KEY", "@@")"#,
        r#"os.environ["MISTRAL_API_KEY"] = os.environ.get("MISTRAL_API_KEY") or "@@""#,
        r#"process.env["MISTRAL_API_KEY"] = "@@";"#,
        r"process.env.MISTRAL_API_KEY ?? '@@'",
        r#"process.env.MISTRAL_API_KEY || "@@""#,
        r#"env::var("MISTRAL_API_KEY").unwrap_or("@@".to_owned())"#,
        r#"std::env::set_var("MISTRAL_API_KEY", "@@");"#,
        r#"os.Setenv("MISTRAL_API_KEY", "@@")"#,
        r#"ENV["MISTRAL_API_KEY"] ||= "@@""#,
        r#"putenv("MISTRAL_API_KEY=@@");"#,
        r#"Environment.SetEnvironmentVariable("MISTRAL_API_KEY", "@@");"#,
        r#"client = Mistral(api_key="@@")"#,
        r#"client = MistralClient("@@")"#,
        r#"const client = new Mistral({ apiKey: "@@" });"#,
        r#"ChatMistralAI(mistral_api_key="@@")"#,
        "mistral-tool --api-key @@ chat",
        "tool --api-key=@@",
        "tool --key @@",
        "export MISTRAL_API_KEY=@@",
        "MISTRAL_API_KEY=@@ python main.py",
        "set -x MISTRAL_API_KEY @@",
        "setenv MISTRAL_API_KEY @@",
        r#"setx MISTRAL_API_KEY "@@""#,
        "setx MISTRAL_API_KEY @@ /M",
        r#"$env:MISTRAL_API_KEY = "@@""#,
        "ENV MISTRAL_API_KEY @@",
        "ENV MISTRAL_API_KEY=@@",
        "ARG MISTRAL_API_KEY=@@",
        "docker run -e MISTRAL_API_KEY=@@ image",
        "- name: MISTRAL_API_KEY\n  value: \"@@\"\n",
        "  - name: API_KEY\n    value: @@\n",
        "kubectl create secret generic mistral --from-literal=api-key=@@",
        r#"{"name": "MISTRAL_API_KEY", "value": "@@"}"#,
        r#"{"env": {"MISTRAL_API_KEY": "@@"}}"#,
        r#"{"mistral": {"type": "api", "key": "@@"}}"#,
        r#"<add key="MistralApiKey" value="@@" />"#,
        "<MISTRAL_API_KEY>@@</MISTRAL_API_KEY>",
        "gh secret set MISTRAL_API_KEY --body \"@@\"",
        "heroku config:set MISTRAL_API_KEY=@@",
        "mistral_api_key = \"@@\"",
        "mistral.api.key=@@",
        "spring.ai.mistralai.api-key: @@",
        "API key: @@",
        "My API key is @@, please help",
        "the mistral key is: @@",
        "Mistral API Key\n\n@@\n",
        "| MISTRAL_API_KEY | @@ |",
        "MISTRAL_API_KEY → `@@`",
        "ma clé API : @@",
        "mein API-Schlüssel: @@",
        r#"headers = {"Authorization": f"Bearer @@"}"#,
        r#"headers["Authorization"] = "Bearer @@""#,
        r#"requests.get(url, headers=[("Authorization", "Bearer @@")])"#,
        r#".header("x-api-key", "@@")"#,
        "-H 'X-API-Key: @@'",
        "Authorization: @@",
        "machine api.mistral.ai login me password @@",
        "https://api.mistral.ai/v1/models?key=@@",
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let text = form.replace("@@", &mistral_key(number as u64 + 1));
        for text in [text.clone(), serde_json::json!({ "content": text }).to_string()] {
            assert!(!certain(text.as_bytes()).is_empty(), "{form}: {text}");
        }
    }
}

/// One token of each kind: prefix, alphabet and length of each part.
#[test]
fn tokens_of_vendors_are_found_by_their_format() {
    let one = |parts: &[(&str, &str, usize)], seed: u64| -> String {
        let part = |(number, (prefix, alphabet, length)): (usize, &(&str, &str, usize))| {
            format!("{prefix}{}", random(alphabet, *length, seed * 7 + number as u64))
        };
        parts.iter().enumerate().map(part).collect()
    };
    let snowflake = STANDARD.encode("792715454196088842");
    type Parts<'a> = &'a [(&'a str, &'a str, usize)];
    let tokens: &[(&str, Parts<'_>)] = &[
        ("an Anthropic API key", &[("sk-ant-api03-", LETTERS, 93), ("AA", "", 0)]),
        ("an OpenAI API key", &[("sk-proj-", LETTERS, 48)]),
        ("an API key", &[("sk-or-v1-", HEX, 64)]),
        ("a Groq API key", &[("gsk_", LETTERS, 52)]),
        ("an xAI API key", &[("xai-", LETTERS, 80)]),
        ("a Perplexity API key", &[("pplx-", LETTERS, 48)]),
        ("a Replicate API token", &[("r8_", LETTERS, 37)]),
        ("a Hugging Face token", &[("hf_", LETTERS, 34)]),
        ("a Google API key", &[("AIza", LETTERS, 35)]),
        ("an NVIDIA API key", &[("nvapi-", LETTERS, 64)]),
        ("a Tavily API key", &[("tvly-", LETTERS, 32)]),
        ("a LangSmith API key", &[("lsv2_pt_", HEX, 32), ("_", HEX, 10)]),
        ("a Weights & Biases key", &[("wandb_v1_", LETTERS, 70)]),
        ("a Firecrawl API key", &[("fc-", HEX, 32)]),
        ("an Apify token", &[("apify_api_", LETTERS, 36)]),
        ("an E2B API key", &[("e2b_", HEX, 40)]),
        ("a RunPod API key", &[("rpa_", UPPER, 44)]),
        ("an Amazon Bedrock API key", &[("ABSK", LETTERS, 128)]),
        (
            "an Amazon Bedrock API key",
            &[("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t", LETTERS, 200)],
        ),
        ("a Google storage key id", &[("GOOG1E", UPPER, 55)]),
        ("a Neon API key", &[("napi_", LOWER, 64)]),
        ("a Vercel token", &[("vcp_", LETTERS, 56)]),
        ("a CircleCI token", &[("CCIPAT_", LETTERS, 22), ("_", HEX, 40)]),
        ("a Buildkite token", &[("bkua_", HEX, 40)]),
        (
            "a HubSpot token",
            &[
                ("pat-na1-", HEX, 8),
                ("-", HEX, 4),
                ("-", HEX, 4),
                ("-", HEX, 4),
                ("-", HEX, 12),
            ],
        ),
        (
            "a Plaid token",
            &[
                ("access-production-", HEX, 8),
                ("-", HEX, 4),
                ("-", HEX, 4),
                ("-", HEX, 4),
                ("-", HEX, 12),
            ],
        ),
        ("an AWS access key id", &[("AKIA", UPPER, 16)]),
        ("a DigitalOcean token", &[("dop_v1_", HEX, 64)]),
        ("a DigitalOcean token", &[("doo_v1_", HEX, 64)]),
        ("a Heroku API key", &[("HRKU-AA", LETTERS, 58)]),
        ("a Databricks token", &[("dapi", HEX, 32)]),
        ("a Databricks token", &[("dapi", HEX, 32), ("-2", "", 0)]),
        ("a Supabase token", &[("sbp_", HEX, 40)]),
        ("a Tailscale key", &[("tskey-auth-", LETTERS, 17), ("-", LETTERS, 32)]),
        ("a GitHub token", &[("ghp_", LETTERS, 36)]),
        ("a GitHub token", &[("github_pat_", LETTERS, 22), ("_", LETTERS, 59)]),
        ("a GitLab token", &[("glpat-", LETTERS, 20)]),
        ("a GitLab token", &[("gldt-", LETTERS, 20)]),
        ("a GitLab token", &[("glrt-", LETTERS, 20)]),
        ("a GitLab token", &[("glptt-", HEX, 40)]),
        ("a GitLab token", &[("glcbt-", HEX, 2), ("_", LETTERS, 20)]),
        ("a GitLab token", &[("glagent-", LETTERS, 50)]),
        ("a GitLab token", &[("glsoat-", LETTERS, 20)]),
        ("a GitLab token", &[("GR1348941", LETTERS, 20)]),
        ("an npm token", &[("npm_", LETTERS, 36)]),
        ("a PyPI token", &[("pypi-AgEIcHlwaS5vcmc", LETTERS, 70)]),
        ("a Docker token", &[("dckr_pat_", LETTERS, 27)]),
        ("a Vault token", &[("hvs.", LETTERS, 24)]),
        ("a Vault token", &[("hvs.CAESI", LETTERS, 90)]),
        ("a Vault token", &[("hvb.AAAAAQ", LETTERS, 140)]),
        ("a Terraform token", &[("", LETTERS, 14), (".atlasv1.", LETTERS, 67)]),
        ("a Pulumi token", &[("pul-", HEX, 40)]),
        ("a Doppler token", &[("dp.pt.", LETTERS, 43)]),
        ("a Postman key", &[("PMAK-", HEX, 24), ("-", HEX, 34)]),
        ("a Grafana token", &[("glsa_", LETTERS, 32), ("_", HEX, 8)]),
        ("a Grafana token", &[("glc_", LETTERS, 100)]),
        ("a Sentry token", &[("sntryu_", HEX, 64)]),
        ("a Sentry token", &[("sntrys_eyJpYXQiO", LETTERS, 100)]),
        ("a New Relic key", &[("NRAK-", UPPER, 27)]),
        ("a Slack token", &[("xoxb-2635942065-2343594206574-", LETTERS, 24)]),
        ("a Telegram bot token", &[("", "123456789", 10), (":AA", LETTERS, 33)]),
        (
            "a Discord webhook",
            &[("discord.com/api/webhooks/", "123456789", 18), ("/", LETTERS, 68)],
        ),
        ("a SendGrid API key", &[("SG.", LETTERS, 22), (".", LETTERS, 43)]),
        ("a Twilio API key", &[("SK", HEX, 32)]),
        ("a Mailchimp key", &[("", HEX, 32), ("-us21", "", 0)]),
        ("a Notion token", &[("ntn_", "0123456789", 11), ("", LETTERS, 35)]),
        ("a Notion token", &[("secret_", LETTERS, 43)]),
        ("a Linear API key", &[("lin_api_", LETTERS, 40)]),
        ("an Airtable token", &[("pat", LETTERS, 14), (".", HEX, 64)]),
        ("a Figma token", &[("figd_", LETTERS, 40)]),
        ("a Stripe key", &[("sk_live_", LETTERS, 24)]),
        ("a webhook secret", &[("whsec_", LETTERS, 32)]),
        ("a Shopify token", &[("shpat_", HEX, 32)]),
        ("a Shopify token", &[("shpss_", HEX, 32)]),
        ("a Square token", &[("sq0atp-", LETTERS, 22)]),
        (
            "a JSON web token",
            &[("eyJ", LETTERS, 20), (".eyJ", LETTERS, 30), (".", LETTERS, 43)],
        ),
    ];
    let discord = format!(
        "token: {snowflake}.{}.{}",
        random(LETTERS, 6, 1),
        random(LETTERS, 27, 2)
    );
    assert_eq!(certain(discord.as_bytes()), ["a Discord token"]);
    for (number, (kind, parts)) in tokens.iter().enumerate() {
        for seed in 0..20 {
            let token = one(parts, number as u64 * 100 + seed);
            assert_eq!(certain(format!("use {token} now").as_bytes()), [*kind], "{token}");
            for text in [
                format!("“{token}”"),
                format!("X_TOKEN={token}\n"),
                format!("the_token_{token}"),
                format!("\u{1b}[1;32m{token}\u{1b}[0m"),
                format!(r#"{{"a":"\u2014{token}\ud83d\ude00"}}"#),
            ] {
                let found = certain(text.as_bytes());
                assert!(!found.is_empty(), "{text}");
            }
        }
    }
}

#[test]
fn tokens_in_commands_headers_and_urls_are_found() {
    let (token, hex, password) = (random(LETTERS, 32, 3), random(HEX, 40, 4), random(LETTERS, 14, 5));
    let uuid = "0b6c1f2e-7a39-4d58-9c41-3f5e8d7a6b21";
    let basic = STANDARD.encode(format!("deploy:{password}"));
    for (kind, text) in [
        ("a registry token", format!("//npm.example.com/:_authToken={uuid}")),
        ("a registry token", format!("//npm.example.com/:_auth={basic}")),
        (
            "a login of a command",
            format!("curl -u deploy:{password} https://a.example"),
        ),
        (
            "a login of a command",
            format!("curl -sS \\\n  --user 'deploy:{password}' https://a.example"),
        ),
        ("a login of a command", format!("curl https://a.example -u {token}:")),
        (
            "a login of a command",
            format!("machine a.example login deploy password {password}"),
        ),
        (
            "a login of a command",
            format!("docker login -u me -p {password} ghcr.io"),
        ),
        (
            "a login of a command",
            format!("az login --service-principal -u me --password '{password}'"),
        ),
        (
            "a login of a command",
            format!("sshpass -p {password} ssh me@a.example"),
        ),
        (
            "a registry token",
            format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{basic}"}}}}}}"#),
        ),
        (
            "a private key",
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","d":"{}","x":"x"}}"#,
                random(LETTERS, 43, 9)
            ),
        ),
        (
            "a private key",
            format!(
                "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n{}\n",
                random(LETTERS, 48, 10)
            ),
        ),
        ("a token in a URL", format!("git clone https://{hex}@github.com/a/b")),
        ("a token in a URL", format!("https://{token}:@a.example")),
        (
            "a password in a URL",
            format!("https://x-access-token:{token}@github.com/a/b"),
        ),
        ("an authorization token", format!("Authorization: Token {hex}")),
        (
            "an authorization token",
            format!(r#"headers["Authorization"] = "Token {hex}""#),
        ),
        ("an authorization token", format!(r#"("Authorization", "token {hex}")"#)),
        ("an authorization token", format!("-H 'authorization: {hex}'")),
        ("an authorization token", format!("Authorization: Bot x{token}.{hex}")),
        (
            "an authorization token",
            format!(r#"Authorization: Token token="{hex}""#),
        ),
        ("basic authorization", format!("Authorization: Basic {basic}")),
        (
            "basic authorization",
            format!(r#"headers["Authorization"] = "Basic {basic}""#),
        ),
        ("a token in a header", format!("X-Vault-Token: {hex}")),
        ("a token in a header", format!("PRIVATE-TOKEN: {hex}")),
        (
            "a token in a header",
            format!(r#"headers = {{"Ocp-Apim-Subscription-Key": "{hex}"}}"#),
        ),
        (
            "a credential in a query",
            format!("https://a.example/x?api_key={hex}&b=1"),
        ),
        (
            "a credential in a query",
            format!("https://a.example/x?a=1&access_token={hex}"),
        ),
        ("a key of a service", format!("TWILIO_AUTH_TOKEN={}", &hex[..32])),
        (
            "a key of a service",
            format!(r#"os.environ["COHERE_API_KEY"] = "{}""#, random(LETTERS, 40, 6)),
        ),
        ("a key of a service", format!("HEROKU_API_KEY: {uuid}")),
        (
            "an AWS secret key",
            format!(r#"os.environ["AWS_SECRET_ACCESS_KEY"] = "{}""#, random(LETTERS, 40, 7)),
        ),
        (
            "an AWS secret key",
            format!("- name: AWS_SECRET_ACCESS_KEY\n  value: {}\n", random(LETTERS, 40, 8)),
        ),
    ] {
        assert_eq!(certain(text.as_bytes()), [kind], "{text}");
        let text = serde_json::json!({ "content": text }).to_string();
        assert!(certain(text.as_bytes()).contains(&kind), "{text}");
    }
}

#[test]
fn the_name_of_a_query_parameter_makes_its_value_a_secret() {
    let kinds = |query: &str| find_in_body(query.as_bytes()).len();
    for query in [
        "?key=a1b2c3d4",
        "?n=1&api_key=correct-horse",
        "?apikey=a1b2c3d4",
        "?access_token=a1b2c3d4",
        "?client_secret=a1b2c3d4",
        "?password=Tr0ub4dor%263",
        "?X-Api-Key=correct-horse",
    ] {
        assert_eq!(kinds(query), 1, "{query}");
    }
    for query in [
        "?key=a1b2c3",
        "?key=created-at",
        "?token=development",
        "?page_token=a1b2c3d4e5",
        "?pageToken=a1b2c3d4e5",
        "?next_page_token=a1b2c3d4e5",
        "?search_key=a1b2c3d4e5",
        "?keyword=a1b2c3d4e5",
        "?api_key=your-key-here",
        "?X-Amz-Credential=a1b2c3d4e5",
    ] {
        assert_eq!(kinds(query), 0, "{query}");
    }
}

#[test]
fn each_name_of_a_secret_makes_its_value_a_possible_one() {
    for name in [
        "my_token",
        "SECRET",
        "passwd",
        "Password",
        "db_pwd",
        "passphrase",
        "apikey",
        "API_KEY",
        "api-key",
        "accesskey",
        "access_key",
        "Access-Key",
        "privateKey",
        "private_key",
        "private-key",
        "SECRET_KEY",
        "secretKey",
        "encryption_key",
        "signing-key",
        "MASTER_KEY",
        "authkey",
        "auth_key",
        "auth-key",
        "credential",
    ] {
        let text = format!("{name}: \"{}\"", random(LOWER, 16, 7));
        let kinds: Vec<_> = find_in_body(text.as_bytes()).iter().map(|secret| secret.kind).collect();
        assert_eq!(kinds, ["a possible password or token"], "{text}");
    }
}

#[test]
fn private_keys_are_found_in_quotes_and_in_source_code() {
    let label = ["PRIVATE", " KEY"].concat();
    let lines = [
        format!("MIIEvQIBADANBg{}", random(LETTERS, 50, 1)),
        random(LETTERS, 64, 2),
    ];
    let pem = |before: &str, between: &str| {
        format!(
            "{before}-----BEGIN RSA {label}-----{between}{}{between}{}{between}-----END RSA {label}-----",
            lines[0], lines[1]
        )
    };
    for text in [
        pem("", "\n"),
        pem("", "\r\n"),
        pem("> ", "\n> "),
        pem("> > ", "\n> > "),
        pem("# ", "\n# "),
        pem(" * ", "\n * "),
        pem("+", "\n+"),
        pem("\"", "\\n\"\n    \""),
        pem("key = \"", "\\n\" +\n    \""),
        pem("key = '", "\\n' .\n  '"),
        pem("\"", "\",\n  \""),
        pem("key = \"", "\\n\";\nkey += \""),
        pem("", "<br>"),
        pem("", "%0A"),
        pem("", " "),
        pem(
            "",
            "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF\n\n",
        ),
        STANDARD.encode(pem("", "\n")),
    ] {
        assert!(certain(text.as_bytes()).contains(&"a private key"), "{text}");
        let json = serde_json::json!({ "content": text }).to_string();
        assert!(certain(json.as_bytes()).contains(&"a private key"), "{json}");
    }
    for text in [
        format!("between -----BEGIN {label}----- and -----END {label}----- stands base64"),
        format!(r#"match label {{ "-----BEGIN {label}-----" => PrivatePkcs8KeyDer, _ => return }}"#),
        format!("-----BEGIN {label}-----\n...\n-----END {label}----- {}", lines[0]),
        format!("-----BEGIN {label}-----\nMIIE...your key here...\n"),
    ] {
        assert!(certain(text.as_bytes()).is_empty(), "{text}");
    }
}

/// Each escape stands where a token begins, in all of it, or within it.
#[test]
fn escapes_do_not_hide_a_token() {
    let token = format!("ghp_{}", random(LETTERS, 36, 9));
    let rest = &token[1..];
    let units: String = token.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
    let percent: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let entities: String = token.bytes().map(|byte| format!("&#{byte};")).collect();
    let mut texts = vec![
        format!("\\u201c{token}\\u201d"),
        format!("\\u2014{token}"),
        format!("\\ud83d\\udd11{token}"),
        format!("\\u0067{rest}"),
        format!("\\b{token}"),
        format!("\\f{token}"),
        format!("\\/{token}"),
        format!("\\t{token}\\t"),
        format!("a\\u000b{token}"),
        units.clone(),
    ];
    // JSON in JSON, and JSON in that.
    for _ in 0..2 {
        let deeper: Vec<String> = texts
            .iter()
            .map(|text| serde_json::to_string(&format!("{{\"a\":\"{text}\"}}")).unwrap())
            .map(|text| text.trim_matches('"').to_owned())
            .collect();
        texts.extend(deeper);
        texts.dedup();
    }
    for text in &texts {
        for body in [
            format!(r#"{{"content":"{text}"}}"#),
            format!("data: {{\"content\":\"{text}\"}}\n\n"),
            format!("event: delta\r\ndata: {{\"content\":\"{text}\"}}\r\n\r\n"),
            format!("{{\"a\":1}}\n{{\"content\":\"{text}\"}}\n"),
            format!("{{\"content\":\"{text}"),
        ] {
            assert_eq!(certain(body.as_bytes()), ["a GitHub token"], "{body}");
        }
    }
    for text in [
        percent,
        entities,
        format!("/v1/%67{rest}"),
        format!("https://a.example/cb?state=x%26t%3D{token}"),
        format!("https%3A%2F%2Fa.example%2F{token}"),
        format!("<p>&quot;{token}&quot;</p>"),
        format!("\"\\x67{rest}\""),
        format!("'\\u{{67}}{rest}'"),
    ] {
        assert_eq!(certain(text.as_bytes()), ["a GitHub token"], "{text}");
    }
}

/// A secret is reported once, at its position in the body, whatever escapes are in it.
#[test]
fn the_position_of_an_escaped_secret_is_that_of_its_escapes() {
    let token = format!("ghp_{}", random(LETTERS, 36, 10));
    let body = format!("{{\"a\":\"\\n\\u0067{}\\n\",\n\"b\":\"{token}\"}}", &token[1..]);
    let found = find_in_body(body.as_bytes());
    let texts: Vec<&str> = found.iter().map(|secret| &body[secret.at.clone()]).collect();
    assert_eq!(texts, [&format!("\\u0067{}", &token[1..]), &token]);
    assert!(found.iter().all(|secret| secret.value.0 == token.as_bytes()));
    assert!(!format!("{found:?}").contains(&token[4..]));
}

/// The source code of the crates in `Cargo.lock`, as far as they were downloaded. Private keys do not count: those in the tests
/// of crates are real ones.
#[test]
fn ordinary_source_text_has_at_most_one_false_alarm_in_10_megabytes() {
    let (mut bytes, mut found) = (0, Vec::new());
    let mut paths = sources_of_dependencies();
    if paths.is_empty() {
        eprintln!("SKIPPED: the sources of the dependencies are not in the registry of cargo");
        return;
    }
    while let Some(path) = paths.pop() {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        // A larger file is data.
        if text.len() > 1 << 20 || std::str::from_utf8(&text).is_err() {
            continue;
        }
        bytes += text.len();
        let certain = certain(&text).into_iter().filter(|kind| *kind != "a private key");
        found.extend(certain.map(|kind| format!("{}: {kind}", path.display())));
    }
    eprintln!("{} false alarms in {bytes} bytes of source text", found.len());
    assert!(found.len() <= bytes.div_ceil(10_000_000), "{bytes} bytes: {found:#?}");
}

/// The folders of the crates in `Cargo.lock`.
fn sources_of_dependencies() -> Vec<std::path::PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let Some(cargo) = cargo.or(home) else { return Vec::new() };
    let registries = std::fs::read_dir(cargo.join("registry/src")).into_iter().flatten();
    let registries: Vec<std::path::PathBuf> = registries.map(|entry| entry.unwrap().path()).collect();
    let mut lines = include_str!("../../../Cargo.lock").lines();
    let mut folders = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("name = ") else {
            continue;
        };
        let version = lines.next().and_then(|line| line.strip_prefix("version = ")).unwrap();
        let folder = format!("{}-{}", name.trim_matches('"'), version.trim_matches('"'));
        folders.extend(registries.iter().map(|registry| registry.join(&folder)));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}
