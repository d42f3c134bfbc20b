"""What goes wrong is told as JSON: `{"detail": "…"}`."""
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, JsonResponse

from .assistant import Unavailable


class Unauthorized(Exception):
    """Nobody is signed in, or the token is wrong."""


class Conflict(Exception):
    """It clashes with what is there."""


class JsonErrors:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, error):
        match error:
            case ValidationError():
                return JsonResponse({"detail": getattr(error, "message_dict", None) or error.messages}, status=422)
            case Unauthorized():
                return JsonResponse({"detail": str(error)}, status=401)
            case PermissionDenied():
                return JsonResponse({"detail": str(error)}, status=403)
            case Http404():
                return JsonResponse({"detail": str(error)}, status=404)
            case Conflict():
                return JsonResponse({"detail": str(error)}, status=409)
            case Unavailable():
                return JsonResponse({"detail": "The assistant is away for a moment."}, status=503, headers={"Retry-After": "2"})
