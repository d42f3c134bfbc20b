//! The cryptography of tokens: `ring`, which TLS has brought along. Verifies; signs nothing.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the way in which this process verifies tokens. A program that embeds the server may have chosen another before.
pub(super) fn install() {
    let _ = RING.install_default();
}

enum Key {
    Point(&'static dyn VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

struct Ring {
    algorithm: Algorithm,
    key: Key,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let wrong = || Error::from(ErrorKind::InvalidKeyFormat);
    if key.family() != algorithm.family() {
        return Err(wrong());
    }
    let rsa = |parameters| -> Result<Key, Error> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return Err(wrong()) };
        Ok(Key::Rsa(parameters, RsaPublicKeyComponents { n: n.clone(), e: e.clone() }))
    };
    let point = |kind| -> Result<Key, Error> { Ok(Key::Point(kind, key.try_get_as_bytes()?.to_vec())) };
    let key = match algorithm {
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256)?,
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384)?,
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512)?,
        Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256)?,
        Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384)?,
        Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512)?,
        Algorithm::ES256 => point(&signature::ECDSA_P256_SHA256_FIXED)?,
        Algorithm::ES384 => point(&signature::ECDSA_P384_SHA384_FIXED)?,
        Algorithm::EdDSA => point(&signature::ED25519)?,
        // HMAC: a shared secret is no key of an issuer's.
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(Ring { algorithm: *algorithm, key }))
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let verified = match &self.key {
            Key::Point(kind, bytes) => UnparsedPublicKey::new(*kind, bytes).verify(message, signature),
            Key::Rsa(parameters, components) => components.verify(parameters, message, signature),
        };
        verified.map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
