"""An application that calls three vendors by their own SDKs. Prints each case and the answer that it got."""

import contextlib
import os

import anthropic
import openai
from google import genai
from google.genai.types import HttpOptions
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create())
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("application")
HTTPXClientInstrumentor().instrument()
OpenAIInstrumentor().instrument()
GoogleGenAiSdkInstrumentor().instrument()

ENVOY = os.environ["TAP_ENVOY"]
messages = [{"role": "user", "content": "hello"}]


@contextlib.contextmanager
def case(name: str, file: str):
    with tracer.start_as_current_span(f"case {name}"):
        with contextlib.suppress(anthropic.APIStatusError, openai.APIStatusError, openai.APIError):
            yield file.split("/")[1]
    print(name, file)


claude = anthropic.Anthropic(base_url=f"{ENVOY}/anthropic", api_key="CANARY", max_retries=0)
for file in ["complete.json", "refusal_before_output_cyber.json", "unknown_stop_reason.json", "refusal_unknown_category.json"]:
    with case(f"anthropic:{file}", f"anthropic/{file}") as model:
        claude.messages.create(model=model, max_tokens=10, messages=messages)
for file in ["refusal_before_output.sse", "refusal_mid_stream.sse"]:
    with case(f"anthropic:{file}", f"anthropic/{file}") as model:
        with claude.messages.stream(model=model, max_tokens=10, messages=messages) as stream:
            stream.until_done()

gpt = openai.OpenAI(base_url=f"{ENVOY}/openai/v1", api_key="CANARY", max_retries=0)
for file in ["refusal_field_stop.json", "content_filter_empty.json", "unknown_finish_reason.json"]:
    with case(f"openai:{file}", f"openai_chat/{file}") as model:
        gpt.chat.completions.create(model=model, messages=messages)
for file in ["stream_refusal.sse", "stream_content_filter.sse"]:
    with case(f"openai:{file}", f"openai_chat/{file}") as model:
        for _ in gpt.chat.completions.create(model=model, messages=messages, stream=True):
            pass
with case("openai:responses", "openai_responses/refusal_item_completed.json") as model:
    gpt.responses.create(model=model, input="hello")

gemini = genai.Client(api_key="CANARY", http_options=HttpOptions(base_url=f"{ENVOY}/gemini"))
for file in ["prompt_blocked_safety.json", "candidate_safety_empty.json"]:
    with case(f"google:{file}", f"google/{file}") as model:
        gemini.models.generate_content(model=model, contents="hello")

provider.shutdown()
