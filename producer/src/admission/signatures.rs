//! Signatures of tokens, verified by the cryptography that the process has already.
//!
//! The library that reads tokens leaves verifying to a provider, and brings none of its own that this build wants: `ring` does
//! all else here. Nothing is signed.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    self as known, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use signature::Verifier;

/// How a signature is verified.
enum Way {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

/// `None` for those of which whoever can verify can sign.
fn way(algorithm: Algorithm) -> Option<Way> {
    Some(match algorithm {
        Algorithm::RS256 => Way::Rsa(&known::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Way::Rsa(&known::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Way::Rsa(&known::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Way::Rsa(&known::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Way::Rsa(&known::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Way::Rsa(&known::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Way::Curve(&known::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Way::Curve(&known::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Way::Curve(&known::ED25519),
        _ => return None,
    })
}

/// Whether whoever verifies needs no secret.
pub(super) fn is_public(algorithm: Algorithm) -> bool {
    way(algorithm).is_some()
}

/// Lets the library verify signatures.
pub(super) fn install() {
    static RING: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory: verifier,
        // for making sets of keys, which nobody does here
        key_utils: KeyUtils::new_unimplemented(),
    };
    // a second time changes nothing
    let _ = RING.install_default();
}

struct ByRing {
    algorithm: Algorithm,
    way: Way,
    key: DecodingKeyKind,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let algorithm = *algorithm;
    let way = way(algorithm).filter(|_| key.family() == algorithm.family());
    let way = way.ok_or(ErrorKind::InvalidAlgorithm)?;
    Ok(Box::new(ByRing { algorithm, way, key: key.kind().clone() }))
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (&self.way, &self.key) {
            (Way::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed)
            }
            (Way::Curve(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*algorithm, key).verify(message, signed)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}
