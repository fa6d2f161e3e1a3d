//! Keys and tokens that are recognized by their format alone, by vendor.

use super::rule::Rule;
use super::rule::Source::{Gitleaks, Vendor};
use crate::redaction::secret_scan::checks::{
    always_certain, is_not_placeholder, looks_random, looks_random_and_mixed_case,
};

/// A rule for a token, with literals that every such token contains.
macro_rules! token {
    ($kind:literal, $source:expr, $check:expr, [$($literal:literal),+], $pattern:literal) => {
        Rule {
            kind: $kind,
            literals: &[$($literal),+],
            // A token may follow a name (`token_`), an escape in source code (`\n`), or a terminal color (`[31m`).
            pattern: concat!(r"(?:\b|_|\\[nrt]|\[[0-9;]{0,12}m)(", $pattern, ")"),
            check: $check,
            source: $source,
        }
    };
}

/// Model providers.
pub(super) const MODELS: &[Rule] = &[
    token!(
        "an Anthropic API key",
        Gitleaks,
        is_not_placeholder,
        ["sk-ant-"],
        r"sk-ant-[A-Za-z0-9_-]{20,}"
    ),
    token!(
        "an OpenAI API key",
        Gitleaks,
        looks_random,
        ["sk-"],
        r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{10,}T3BlbkFJ[A-Za-z0-9]{10,}"
    ),
    token!("an API key", Vendor, looks_random, ["sk-"], r"sk-[A-Za-z0-9_-]{20,}"),
    token!(
        "a Groq API key",
        Gitleaks,
        is_not_placeholder,
        ["gsk_"],
        r"gsk_[A-Za-z0-9]{40,}"
    ),
    token!(
        "an xAI API key",
        Vendor,
        is_not_placeholder,
        ["xai-"],
        r"xai-[A-Za-z0-9_-]{40,}"
    ),
    token!(
        "a Perplexity API key",
        Gitleaks,
        is_not_placeholder,
        ["pplx-"],
        r"pplx-[A-Za-z0-9]{40,}"
    ),
    token!(
        "a Replicate API token",
        Vendor,
        is_not_placeholder,
        ["r8_"],
        r"r8_[A-Za-z0-9]{32,}"
    ),
    token!(
        "a Hugging Face token",
        Gitleaks,
        is_not_placeholder,
        ["hf_", "api_org_"],
        r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z]{30,}"
    ),
    token!(
        "a Google API key",
        Gitleaks,
        is_not_placeholder,
        ["AIza"],
        r"AIza[0-9A-Za-z_-]{35}"
    ),
    token!(
        "an NVIDIA API key",
        Vendor,
        is_not_placeholder,
        ["nvapi-"],
        r"nvapi-[A-Za-z0-9_-]{40,}"
    ),
    token!(
        "a Cerebras API key",
        Vendor,
        is_not_placeholder,
        ["csk-"],
        r"csk-[a-z0-9]{40,}"
    ),
    token!(
        "a Fireworks API key",
        Vendor,
        looks_random,
        ["fw_"],
        r"fw_[A-Za-z0-9]{22,}"
    ),
    token!(
        "a Together API key",
        Vendor,
        is_not_placeholder,
        ["tgp_v1_"],
        r"tgp_v1_[A-Za-z0-9_-]{32,}"
    ),
    token!(
        "an ElevenLabs API key",
        Vendor,
        looks_random,
        ["sk_"],
        r"sk_[a-f0-9]{40,}"
    ),
    token!(
        "a Jina API key",
        Vendor,
        is_not_placeholder,
        ["jina_"],
        r"jina_[A-Za-z0-9]{40,}"
    ),
    token!(
        "a Voyage API key",
        Vendor,
        looks_random,
        ["pa-"],
        r"pa-[A-Za-z0-9_-]{43}(?:[^A-Za-z0-9_-]|$)"
    ),
    token!(
        "a Pinecone API key",
        Vendor,
        is_not_placeholder,
        ["pcsk_"],
        r"pcsk_[A-Za-z0-9_]{40,}"
    ),
    token!(
        "a Tavily API key",
        Vendor,
        is_not_placeholder,
        ["tvly-"],
        r"tvly-[A-Za-z0-9-]{20,}"
    ),
    token!(
        "a LangSmith API key",
        Gitleaks,
        is_not_placeholder,
        ["lsv2_"],
        r"lsv2_(?:pt|sk)_[A-Za-z0-9]{32}_[A-Za-z0-9]{10}"
    ),
    token!(
        "a Weights & Biases key",
        Vendor,
        is_not_placeholder,
        ["wandb_v1_"],
        r"wandb_v1_[A-Za-z0-9_]{40,}"
    ),
    token!(
        "a Firecrawl API key",
        Vendor,
        is_not_placeholder,
        ["fc-"],
        r"fc-[0-9a-f]{32}\b"
    ),
    token!(
        "an Apify token",
        Vendor,
        is_not_placeholder,
        ["apify_api_"],
        r"apify_api_[A-Za-z0-9]{30,}"
    ),
    token!(
        "an E2B API key",
        Vendor,
        is_not_placeholder,
        ["e2b_"],
        r"e2b_[0-9a-f]{40}\b"
    ),
    token!(
        "a RunPod API key",
        Vendor,
        is_not_placeholder,
        ["rpa_"],
        r"rpa_[A-Z0-9]{40,}"
    ),
];

/// Clouds and hosting.
pub(super) const CLOUDS: &[Rule] = &[
    token!(
        "an AWS access key id",
        Gitleaks,
        is_not_placeholder,
        ["AKIA", "ASIA", "ABIA", "ACCA"],
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"
    ),
    token!(
        "a Google OAuth token",
        Vendor,
        is_not_placeholder,
        ["ya29."],
        r"ya29\.[0-9A-Za-z_-]{20,}"
    ),
    token!(
        "a Google client secret",
        Vendor,
        is_not_placeholder,
        ["GOCSPX-"],
        r"GOCSPX-[0-9A-Za-z_-]{20,}"
    ),
    token!(
        "an Azure client secret",
        Gitleaks,
        looks_random,
        ["Q~"],
        r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"
    ),
    token!(
        "an Alibaba Cloud key id",
        Gitleaks,
        looks_random_and_mixed_case,
        ["LTAI"],
        r"LTAI[A-Za-z0-9]{20}\b"
    ),
    token!(
        "a DigitalOcean token",
        Gitleaks,
        is_not_placeholder,
        ["_v1_"],
        r"do[opr]_v1_[a-f0-9]{64}"
    ),
    token!(
        "a Heroku API key",
        Gitleaks,
        is_not_placeholder,
        ["HRKU-AA"],
        r"HRKU-AA[0-9A-Za-z_-]{40,}"
    ),
    token!(
        "a Cloudflare origin key",
        Gitleaks,
        is_not_placeholder,
        ["v1.0-"],
        r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"
    ),
    token!(
        "a Fly.io token",
        Gitleaks,
        is_not_placeholder,
        ["fo1_", "fm1a_", "fm1r_", "fm2_"],
        r"fo1_[A-Za-z0-9_-]{43}|fm(?:1[ar]|2)_[A-Za-z0-9+/]{100,}"
    ),
    token!(
        "a Netlify token",
        Vendor,
        is_not_placeholder,
        ["nfp_"],
        r"nfp_[A-Za-z0-9]{36,}"
    ),
    token!(
        "a Supabase token",
        Vendor,
        is_not_placeholder,
        ["sbp_", "sb_secret_"],
        r"sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{30,}"
    ),
    token!(
        "a PlanetScale token",
        Gitleaks,
        is_not_placeholder,
        ["pscale_"],
        r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_=.-]{32,64}"
    ),
    token!(
        "a Databricks token",
        Gitleaks,
        is_not_placeholder,
        ["dapi"],
        r"dapi[a-f0-9]{32}(?:-\d)?\b"
    ),
    token!(
        "a ClickHouse Cloud key",
        Gitleaks,
        looks_random_and_mixed_case,
        ["4b1d"],
        r"4b1d[A-Za-z0-9]{38}\b"
    ),
    token!(
        "an OpenShift token",
        Gitleaks,
        is_not_placeholder,
        ["sha256~"],
        r"sha256~[A-Za-z0-9_-]{43}"
    ),
    token!(
        "a Tailscale key",
        Vendor,
        is_not_placeholder,
        ["tskey-"],
        r"tskey-[a-z]+-[A-Za-z0-9-]{20,}"
    ),
    token!(
        "a Scalingo token",
        Gitleaks,
        looks_random,
        ["tk-us-"],
        r"tk-us-[A-Za-z0-9_-]{48}"
    ),
    token!(
        "an Amazon Bedrock API key",
        Gitleaks,
        is_not_placeholder,
        ["ABSK", "bedrock-api-key-"],
        r"ABSK[A-Za-z0-9+/]{109,269}={0,2}|bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t[A-Za-z0-9+/=_-]*"
    ),
    token!(
        "a Google storage key id",
        Vendor,
        is_not_placeholder,
        ["GOOG1E"],
        r"GOOG1E[A-Z0-9]{50,}"
    ),
    token!(
        "a Neon API key",
        Vendor,
        is_not_placeholder,
        ["napi_"],
        r"napi_[a-z0-9]{60,}"
    ),
    token!(
        "a Vercel token",
        Vendor,
        is_not_placeholder,
        ["vcp_", "vci_", "vca_", "vcr_", "vck_"],
        r"vc[piark]_[A-Za-z0-9]{40,}"
    ),
];

/// Source code, packages, builds and operation.
pub(super) const DEVELOPMENT: &[Rule] = &[
    token!(
        "a GitHub token",
        Gitleaks,
        is_not_placeholder,
        ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}"
    ),
    token!(
        "a GitLab token",
        Gitleaks,
        is_not_placeholder,
        [
            "glpat-",
            "gldt-",
            "glft-",
            "glrt-",
            "glptt-",
            "glcbt-",
            "glimt-",
            "glagent-",
            "gloas-",
            "glsoat-",
            "glffct-",
            "glwt-",
            "GR1348941"
        ],
        r"gl(?:pat|dt|ft|rt|ptt|cbt|imt|agent|oas|soat|ffct|wt)-[A-Za-z0-9_.-]{20,}|GR1348941[A-Za-z0-9_-]{20,}"
    ),
    token!(
        "an npm token",
        Gitleaks,
        is_not_placeholder,
        ["npm_"],
        r"npm_[A-Za-z0-9]{36}\b"
    ),
    token!(
        "a PyPI token",
        Gitleaks,
        is_not_placeholder,
        ["pypi-AgE"],
        r"pypi-AgE[A-Za-z0-9_-]{40,}"
    ),
    token!(
        "a RubyGems token",
        Gitleaks,
        is_not_placeholder,
        ["rubygems_"],
        r"rubygems_[a-f0-9]{48}"
    ),
    token!(
        "a crates.io token",
        Vendor,
        looks_random_and_mixed_case,
        ["cio"],
        r"cio[A-Za-z0-9]{32}\b"
    ),
    token!(
        "a Clojars token",
        Gitleaks,
        is_not_placeholder,
        ["CLOJARS_"],
        r"CLOJARS_[A-Za-z0-9]{60}"
    ),
    token!(
        "a Docker token",
        Vendor,
        is_not_placeholder,
        ["dckr_"],
        r"dckr_[po]at_[A-Za-z0-9_-]{24,}"
    ),
    token!(
        "a Vault token",
        Gitleaks,
        is_not_placeholder,
        ["hvs.", "hvb.", "hvr."],
        r"hv[sbr]\.[A-Za-z0-9_-]{24,}"
    ),
    token!(
        "a Terraform token",
        Gitleaks,
        is_not_placeholder,
        [".atlasv1."],
        r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"
    ),
    token!(
        "a Pulumi token",
        Gitleaks,
        is_not_placeholder,
        ["pul-"],
        r"pul-[a-f0-9]{40}\b"
    ),
    token!(
        "a Doppler token",
        Gitleaks,
        is_not_placeholder,
        ["dp."],
        r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,}"
    ),
    token!(
        "a 1Password token",
        Gitleaks,
        is_not_placeholder,
        ["ops_eyJ"],
        r"ops_eyJ[A-Za-z0-9+/_-]{100,}"
    ),
    token!(
        "a 1Password secret key",
        Gitleaks,
        looks_random,
        ["A3-"],
        r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}\b"
    ),
    token!(
        "an age key",
        Gitleaks,
        is_not_placeholder,
        ["AGE-SECRET-KEY-1"],
        r"AGE-SECRET-KEY-1[A-Z0-9]{58}"
    ),
    token!(
        "an Artifactory key",
        Gitleaks,
        looks_random_and_mixed_case,
        ["AKCp", "cmVmd"],
        r"AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{59}\b"
    ),
    token!(
        "a Harness token",
        Gitleaks,
        looks_random,
        ["pat.", "sat."],
        r"[ps]at\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}\b"
    ),
    token!(
        "an Octopus Deploy key",
        Gitleaks,
        looks_random,
        ["API-"],
        r"API-[A-Z0-9]{26}\b"
    ),
    token!(
        "a Postman key",
        Gitleaks,
        is_not_placeholder,
        ["PMAK-"],
        r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"
    ),
    token!(
        "a Prefect token",
        Gitleaks,
        is_not_placeholder,
        ["pnu_"],
        r"pnu_[A-Za-z0-9]{36}\b"
    ),
    token!(
        "a Sourcegraph token",
        Gitleaks,
        is_not_placeholder,
        ["sgp_"],
        r"sgp_(?:[A-Fa-f0-9]{16}_|local_)?[A-Fa-f0-9]{40}\b"
    ),
    token!(
        "an Infracost key",
        Gitleaks,
        looks_random_and_mixed_case,
        ["ico-"],
        r"ico-[A-Za-z0-9]{32}\b"
    ),
    token!(
        "a Readme token",
        Gitleaks,
        is_not_placeholder,
        ["rdme_"],
        r"rdme_[a-z0-9]{70}"
    ),
    token!(
        "a Grafana token",
        Gitleaks,
        is_not_placeholder,
        ["glsa_", "glc_", "eyJrIjoi"],
        r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{32,}|eyJrIjoi[A-Za-z0-9]{60,}"
    ),
    token!(
        "a Sentry token",
        Gitleaks,
        is_not_placeholder,
        ["sntrys_", "sntryu_"],
        r"sntrys_[A-Za-z0-9+/=_]{40,}|sntryu_[a-f0-9]{64}"
    ),
    token!(
        "a Dynatrace token",
        Gitleaks,
        is_not_placeholder,
        ["dt0c01."],
        r"dt0c01\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}"
    ),
    token!(
        "a New Relic key",
        Gitleaks,
        looks_random,
        ["NRAK-", "NRII-"],
        r"NRAK-[A-Za-z0-9]{27}\b|NRII-[A-Za-z0-9-]{32}"
    ),
    token!(
        "a PostHog key",
        Vendor,
        is_not_placeholder,
        ["phx_"],
        r"phx_[A-Za-z0-9]{40,}"
    ),
    token!(
        "a CircleCI token",
        Vendor,
        is_not_placeholder,
        ["CCIPAT_", "CCIPRJ_"],
        r"CCIP(?:AT|RJ)_[A-Za-z0-9]{20,}_[0-9a-f]{40}\b"
    ),
    token!(
        "a Buildkite token",
        Vendor,
        is_not_placeholder,
        ["bkua_"],
        r"bkua_[0-9a-f]{40}\b"
    ),
];

/// Messages, documents, payment and other services.
pub(super) const SERVICES: &[Rule] = &[
    token!(
        "a Slack token",
        Gitleaks,
        looks_random,
        ["xox", "xapp-", "hooks.slack.com"],
        r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/(?:services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,}|(?:workflows|triggers)/[A-Za-z0-9+/]{40,})"
    ),
    token!(
        "a Telegram bot token",
        Gitleaks,
        is_not_placeholder,
        [":A"],
        r"\d{6,12}:A[A-Za-z0-9_-]{34}(?:[^A-Za-z0-9_-]|$)"
    ),
    // The words stand near the token, in the name of a variable, a header or a URL.
    token!(
        "a Discord token",
        Vendor,
        looks_random_and_mixed_case,
        ["discord", "bot", "token", "client"],
        r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}(?:[^A-Za-z0-9_.-]|$)"
    ),
    token!(
        "a Discord webhook",
        Vendor,
        is_not_placeholder,
        ["/api/webhooks/"],
        r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{15,20}/[A-Za-z0-9_-]{60,}"
    ),
    token!(
        "a Microsoft Teams webhook",
        Gitleaks,
        is_not_placeholder,
        ["/webhookb2/"],
        r"[a-z0-9-]+\.webhook\.office\.com/webhookb2/[a-z0-9@-]{70,}/IncomingWebhook/[a-z0-9]{32}/[a-z0-9-]{36}"
    ),
    token!(
        "a SendGrid API key",
        Gitleaks,
        is_not_placeholder,
        ["SG."],
        r"SG\.[A-Za-z0-9_=-]{16,32}\.[A-Za-z0-9_=-]{32,64}"
    ),
    token!(
        "a Brevo API key",
        Gitleaks,
        is_not_placeholder,
        ["xkeysib-"],
        r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"
    ),
    token!(
        "a Mailgun key",
        Gitleaks,
        is_not_placeholder,
        ["key-"],
        r"key-[a-f0-9]{32}\b"
    ),
    token!(
        "a Mailchimp key",
        Gitleaks,
        is_not_placeholder,
        ["-us"],
        r"[a-f0-9]{32}-us\d{1,2}\b"
    ),
    token!(
        "a Resend API key",
        Vendor,
        looks_random_and_mixed_case,
        ["re_"],
        r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}\b"
    ),
    token!(
        "a Twilio API key",
        Gitleaks,
        is_not_placeholder,
        ["SK"],
        r"SK[0-9a-fA-F]{32}\b"
    ),
    token!(
        "a Notion token",
        Gitleaks,
        is_not_placeholder,
        ["ntn_", "secret_"],
        r"ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43}\b"
    ),
    token!(
        "a Linear API key",
        Gitleaks,
        is_not_placeholder,
        ["lin_api_", "lin_oauth_"],
        r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}"
    ),
    token!(
        "an Airtable token",
        Gitleaks,
        is_not_placeholder,
        ["pat"],
        r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}\b"
    ),
    token!(
        "an Atlassian token",
        Gitleaks,
        is_not_placeholder,
        ["ATATT3", "ATCTT3", "ATBB"],
        r"AT[AC]TT3[A-Za-z0-9_=-]{60,}|ATBB[A-Za-z0-9]{32}\b"
    ),
    token!(
        "a Figma token",
        Vendor,
        is_not_placeholder,
        ["figd_"],
        r"figd_[A-Za-z0-9_-]{36,}"
    ),
    token!(
        "a Frame.io token",
        Gitleaks,
        is_not_placeholder,
        ["fio-u-"],
        r"fio-u-[A-Za-z0-9_=-]{64}"
    ),
    token!(
        "a Typeform token",
        Gitleaks,
        is_not_placeholder,
        ["tfp_"],
        r"tfp_[A-Za-z0-9_.=-]{59}"
    ),
    token!(
        "a Mapbox token",
        Gitleaks,
        is_not_placeholder,
        ["sk.eyJ"],
        r"sk\.eyJ[A-Za-z0-9_-]{50,}\.[A-Za-z0-9_-]{22}"
    ),
    token!(
        "a Stripe key",
        Gitleaks,
        is_not_placeholder,
        ["k_live_", "k_prod_"],
        r"[rs]k_(?:live|prod)_[A-Za-z0-9]{16,}"
    ),
    token!(
        "a webhook secret",
        Vendor,
        is_not_placeholder,
        ["whsec_"],
        r"whsec_[A-Za-z0-9+/=_-]{24,}"
    ),
    token!(
        "a Shopify token",
        Gitleaks,
        is_not_placeholder,
        ["shp"],
        r"shp(?:at|ca|pa|ss|ua|tka)_[A-Fa-f0-9]{32}"
    ),
    token!(
        "a Shippo token",
        Gitleaks,
        is_not_placeholder,
        ["shippo_live_"],
        r"shippo_live_[A-Fa-f0-9]{40}"
    ),
    token!(
        "a Square token",
        Gitleaks,
        is_not_placeholder,
        ["sq0atp-", "sq0csp-", "EAAA"],
        r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}|EAAA[A-Za-z0-9_-]{60}\b"
    ),
    token!(
        "a Facebook token",
        Gitleaks,
        looks_random_and_mixed_case,
        ["EAAM", "EAAC"],
        r"EAA[MC][A-Za-z0-9]{100,}"
    ),
    token!(
        "an EasyPost key",
        Gitleaks,
        looks_random_and_mixed_case,
        ["EZAK"],
        r"EZAK[A-Za-z0-9]{54}\b"
    ),
    token!(
        "a Duffel token",
        Gitleaks,
        is_not_placeholder,
        ["duffel_live_"],
        r"duffel_live_[A-Za-z0-9_=-]{43}"
    ),
    token!(
        "an Adobe client secret",
        Gitleaks,
        is_not_placeholder,
        ["p8e-"],
        r"p8e-[A-Za-z0-9_-]{32}\b"
    ),
    token!(
        "a MaxMind license key",
        Gitleaks,
        looks_random_and_mixed_case,
        ["_mmk"],
        r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"
    ),
    token!(
        "a SettleMint token",
        Gitleaks,
        looks_random_and_mixed_case,
        ["sm_aat_", "sm_pat_", "sm_sat_"],
        r"sm_[aps]at_[A-Za-z0-9]{16}\b"
    ),
    token!(
        "a JSON web token",
        Gitleaks,
        always_certain,
        ["eyJ"],
        r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    ),
    token!(
        "a HubSpot token",
        Vendor,
        is_not_placeholder,
        ["pat-na", "pat-eu"],
        r"pat-(?:na|eu)[0-9]-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    ),
    token!(
        "a Plaid token",
        Gitleaks,
        is_not_placeholder,
        ["access-sandbox-", "access-development-", "access-production-"],
        r"access-(?:sandbox|development|production)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    ),
];
