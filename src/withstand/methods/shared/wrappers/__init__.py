"""Methods round another method, or round an encoder that was trained before."""
